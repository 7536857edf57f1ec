"""The trials of a sweep are composed as Hydra composes them, from files that were composed once."""

import pickle
from collections.abc import Iterator

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lantu.config.composing import config_search
from lantu.sweeps.state.trial_loader import TrialLoader

TRIALS = (
    ["model=mlp", "optimizer.lr=0.1", "model.hidden=[3,4]", "sweep.trial=0"],
    ["model=mlp", "optimizer.lr=0.2", "seed=7", "sweep.trial=1"],
    ["model=mlp", "+model.own=1", "++model.own=2", "++tags.team=a", "~data.source"],
    ["model=cnn", "optimizer.lr=1e-3", "callbacks=[default,ema]", "hydra.job.chdir=false"],
    ["~scheduler", "optimizer={lr:0.3}", "model={_target_:a.b}"],
    ["seed=1", "name='a b'", "hydra.job.name=own", "model=linear"],
)


@pytest.fixture
def master() -> Iterator[DictConfig]:
    with config_search():
        loader = GlobalHydra.instance().config_loader()
        yield loader.load_configuration("train", ["hydra.verbose=true", "model=linear"], RunMode.MULTIRUN)


@pytest.fixture
def loader() -> TrialLoader:
    with config_search():
        return TrialLoader(GlobalHydra.instance().config_loader().get_search_path())


def test_a_trial_has_the_config_that_hydra_gives_it(master: DictConfig, loader: TrialLoader) -> None:
    hydras = ConfigLoaderImpl(loader.get_search_path())
    for trial in (*TRIALS, *TRIALS):
        theirs, ours = hydras.load_sweep_config(master, trial), loader.load_sweep_config(master, trial)
        assert OmegaConf.to_container(ours) == OmegaConf.to_container(theirs)
        assert list(ours) == list(theirs)
        ours.seed, ours.optimizer.lr = 99, 99.0  # must not reach the next trial


@pytest.mark.parametrize("wrong", ["optimizer.lrr=1", "model=nothing", "optimizer.lr=1,2", "+seed=1", "~nothing.there"])
def test_a_trial_is_refused_as_hydra_refuses_it(master: DictConfig, loader: TrialLoader, wrong: str) -> None:
    said = []
    for each in (ConfigLoaderImpl(loader.get_search_path()), loader):
        with pytest.raises(HydraException) as error:
            each.load_sweep_config(master, ["model=mlp", wrong])
        said.append(str(error.value))
    assert said[0] == said[1]


def test_a_worker_gets_the_loader_without_what_it_has_composed(master: DictConfig, loader: TrialLoader) -> None:
    before = len(pickle.dumps(loader))
    loader.load_sweep_config(master, TRIALS[0])
    assert len(pickle.dumps(loader)) == before
    again = pickle.loads(pickle.dumps(loader))
    composed = [OmegaConf.to_container(each.load_sweep_config(master, TRIALS[0])) for each in (again, loader)]
    assert composed[0] == composed[1]
