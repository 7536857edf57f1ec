"""Test accuracy of private linear models at epsilon 1, 3 and 8: `python scripts/bench/privacy.py digits`."""

import argparse
import tempfile

import lantu

COMMON = (
    "privacy=dp", "model=linear", "optimizer=sgd", "optimizer.momentum=0.9", "optimizer.weight_decay=0",
    "trainer=cpu", "trainer.enable_progress_bar=false", "callbacks.figures=null", "callbacks.samples=null",
    "callbacks.resume=null", "logger.mlflow=null", "save_model=false",
)  # fmt: skip
RECIPES: dict[str, dict[int, tuple[str, ...]]] = {
    "digits": {
        1: ("privacy.delta=1e-4", "data.batch_size=1400", "trainer.max_epochs=60", "optimizer.lr=0.5"),
        3: ("privacy.delta=1e-4", "data.batch_size=512", "trainer.max_epochs=40", "optimizer.lr=0.3"),
        8: ("privacy.delta=1e-4", "data.batch_size=512", "trainer.max_epochs=60", "optimizer.lr=0.5"),
    },
    "fashion_mnist": dict.fromkeys((1, 3, 8), ("data.batch_size=2048", "trainer.max_epochs=20", "optimizer.lr=0.5")),
}


def main() -> None:
    """Train each recipe with each seed, and print test accuracies."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", choices=RECIPES)
    parser.add_argument("--epsilon", type=int, nargs="*", default=[1, 3, 8])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("options", nargs="*", help="further overrides")
    asked = parser.parse_args()
    for epsilon in asked.epsilon:
        for seed in range(asked.seeds):
            with tempfile.TemporaryDirectory() as folder:
                recipe = RECIPES[asked.data][epsilon]
                options = (f"data={asked.data}", f"privacy.epsilon={epsilon}", f"seed={seed}", f"paths.root={folder}")
                result = lantu.run(lantu.compose(*COMMON, *options, *recipe, *asked.options))
                spent, accuracy = (result.metrics[name] for name in ("privacy/epsilon", "test/accuracy"))
                print(f"{asked.data} epsilon {spent:.3f} seed {seed}: test accuracy {accuracy:.4f}", flush=True)


if __name__ == "__main__":
    main()
