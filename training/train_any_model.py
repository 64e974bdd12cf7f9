"""Train any model type; takes what ``nethical train`` takes."""
import sys

try:
    from nethical.cli.main import main
except ImportError as error:
    sys.exit(f"error: nethical is not installed ({error})\nmend: pip install -c constraints.txt -e .")
if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
