"""Train any model type; takes what ``nethical train`` takes."""

import sys

try:
    from nethical.cli.main import main
except ImportError as error:
    print(f"error: nethical is not installed ({error})", file=sys.stderr)
    print("mend: pip install -c constraints.txt -e .", file=sys.stderr)
    sys.exit(2)
if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
