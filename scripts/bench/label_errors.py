"""How many planted label errors `lantu data labels=true` names: `scripts/bench/label_errors.py trec --mirror DIR`.

A share of the training labels is replaced by another class drawn at random. Printed are the precision of what is named,
its recall, and the precision of the first hundred.
"""

import argparse

import numpy as np

import lantu
from lantu.config.build import build
from lantu.data.quality.label_errors import MOST, label_errors


def main() -> None:
    """Plant and look for errors, once for each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="such as trec or fashion_mnist")
    parser.add_argument("--mirror", required=True)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_args()
    module = build(lantu.compose(f"data={asked.data}", f"paths.mirror={asked.mirror}").cfg.data)
    module.prepare_data()
    module.setup("fit")
    size, classes = len(module.splits["train"]), module.spec["classes"]
    for seed in range(asked.seeds):
        random = np.random.default_rng(seed)
        rows = np.sort(random.permutation(size)[:MOST])
        x, y = module.classical_features("train", rows)
        y = y.astype(np.int64)
        wrong = random.random(len(y)) < asked.share
        given = np.where(wrong, (y + random.integers(1, classes, len(y))) % classes, y)
        description, model = module.classical_model(classifies=True, shape=x.shape)
        named = label_errors(x, given, model).row.to_numpy()
        precision, recall = wrong[named].mean(), np.isin(np.flatnonzero(wrong), named).mean()
        print(
            f"{asked.data}, {len(y):,} rows, {description}, seed {seed}: {len(named):,} named, precision "
            f"{precision:.3f}, recall {recall:.3f}, precision of the first 100 {wrong[named[:100]].mean():.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
