"""What a data scientist would write without the project: read, fit on 60 %, predict the rest."""

from __future__ import annotations

import sys


def make(n: int, path: str) -> None:
    """Write n generated rows as CSV or Parquet."""
    import pyarrow.parquet as pq
    from pyarrow import csv

    from nethical.data.synthetic import generate

    table = generate("risk", n, seed=1).table
    if path.endswith(".csv"):
        csv.write_csv(table, path)
    else:
        pq.write_table(table, path, row_group_size=1 << 17)


def fit(kind: str, path: str) -> None:
    """Read a CSV file, fit on 60 % of its rows and predict the others."""
    import numpy as np
    from pyarrow import csv

    table = csv.read_csv(path)
    y = table.column("label").to_numpy()
    X = np.column_stack([table.column(c).to_numpy() for c in table.column_names if c != "label"])
    train = np.random.default_rng(1).random(len(y)) < 0.6
    if kind == "logistic":
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=100))
        model.fit(X[train], y[train])
        model.predict_proba(X[~train])
    else:
        import lightgbm

        parameters = {"objective": "binary", "num_threads": 1, "verbosity": -1}
        booster = lightgbm.train(parameters, lightgbm.Dataset(X[train], y[train]), 100)
        booster.predict(X[~train])


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(int(sys.argv[2]), sys.argv[3])
    else:
        fit(sys.argv[2], sys.argv[3])
