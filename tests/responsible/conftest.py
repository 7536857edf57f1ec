"""A small trained run that explanations, cards and monitoring share."""

from pathlib import Path

import pytest

import lantu
from tests.responsible.applicants import applicants


@pytest.fixture(scope="session")
def table_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear model of applicants, explained at its end; returns the run's folder."""
    folder = tmp_path_factory.mktemp("responsible")
    applicants(600, seed=0).to_csv(folder / "applicants.csv", index=False)
    result = lantu.run(
        lantu.compose(
            "data=csv",
            f"data.path={folder}/applicants.csv",
            "data.target=status",
            "model=linear",
            "trainer.max_epochs=8",
            "optimizer.lr=0.05",
            "trainer.enable_progress_bar=false",
            "callbacks=[default,explanations]",
            "callbacks.explanations.examples=4",
            "callbacks.explanations.methods=[integrated_gradients,occlusion]",
            "callbacks.figures=null",
            "logger.mlflow.ship=false",
            "save_model=false",
            f"paths.root={folder}",
            f"paths.run={folder}/mlruns/runs/r",
        )
    )
    assert result.metrics["test/accuracy"] > 0.7
    return result.run_dir
