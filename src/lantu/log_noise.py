"""Keep the terminal for what a person needs to read."""

import logging
import warnings

NOISE = (
    r".*No (positive|negative) samples in targets.*",  # a class that a split lacks: its figure is left out, and said
    r".*treespec, LeafSpec.*",  # Lightning 2.6 with torch 2.14
    r".*does not have many workers.*",  # data that lie in memory need none
    r".*Trying to infer the `batch_size` from an ambiguous collection.*",  # transcripts are texts of other lengths
    r".*number of training batches .* smaller than the logging interval.*",
    r".*Checkpoint directory .* exists and is not empty.*",
    r".*It is recommended to use .*sync_dist=True.*",  # torchmetrics has already reduced over the ranks
    r".*The `srun` command is available on your system but is not used.*",
    r".*resuming from a checkpoint that ended before the epoch ended.*",  # our loader goes on inside it
    r".*WeightAveraging callback with a model that overrides.*",  # `trainer=fsdp`, which alone splits, refuses it
    r".*module\(s\) in eval mode at the start of training.*",  # what measures or is averaged is not trained
    r".*will save all extracted features in buffer.*",
    r".*`LightningModule.*` hook is deprecated.*",
)


def without_noise() -> None:
    """Silence messages that tell a user nothing to do: known warnings of libraries, and Lightning's greetings."""
    for pattern in NOISE:
        warnings.filterwarnings("ignore", message=pattern)
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # MLflow logs the traceback of an error of its database, which is raised besides and answered in a sentence
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
