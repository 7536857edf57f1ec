"""DICOM, NIfTI and NRRD files are read in Hounsfield units and windowed by `data.levels`."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lantu
from lantu.data.image.medical import read_levels
from lantu.data.image.read_picture import Rendering, Unreadable, read_picture
from tests.conftest import SHORT

SimpleITK = pytest.importorskip("SimpleITK", reason="needs SimpleITK: pip install 'lantu[medical]'")
LUNG = Rendering(floats=(-1000.0, 400.0))


def volume(slices: int = 5) -> np.ndarray:
    """Air with a ball of water whose radius is largest in the middle slice, in Hounsfield units."""
    z, y, x = np.mgrid[:slices, :20, :24]
    ball = (z - slices // 2) ** 2 * 4 + (y - 10) ** 2 + (x - 12) ** 2 < 36
    return np.where(ball, 0, -1000).astype(np.int16)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_the_middle_slice_of_a_volume_is_windowed(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"scan{ending}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(volume()), str(file))
    pixels = read_picture(str(file), None, LUNG)
    assert pixels.shape == (20, 24, 1)
    assert (pixels[10, 12, 0], pixels[0, 0, 0]) == (round(1000 / 1400 * 255), 0)
    assert (pixels > 0).sum() == (volume()[2] == 0).sum()


def test_a_dicom_files_scale_and_offset_are_applied(tmp_path: Path) -> None:
    file = tmp_path / "slice.dcm"
    stored = SimpleITK.GetImageFromArray(volume(1))
    stored.SetMetaData("0028|1052", "-1024")  # rescale intercept
    stored.SetMetaData("0028|1053", "1")
    stored.SetMetaData("0008|0060", "CT")
    SimpleITK.WriteImage(stored, str(file))
    in_the_file = np.frombuffer(file.read_bytes()[-20 * 24 * 2 :], dtype="<i2")
    assert set(np.unique(in_the_file)) == {24, 1024}, "a scanner stores no negative numbers"
    levels = read_levels(file)
    assert levels.shape == (20, 24)
    assert set(np.unique(levels)) == {-1000.0, 0.0}


def test_a_damaged_scan_is_counted_and_not_read(tmp_path: Path) -> None:
    (tmp_path / "cut.nii").write_bytes(b"\0" * 100)
    with pytest.raises(Unreadable):
        read_picture(str(tmp_path / "cut.nii"))


def test_scans_in_folders_of_classes_are_trained_on(tmp_path: Path) -> None:
    for kind, level in (("air", -1000), ("water", 0)):
        (tmp_path / "scans" / kind).mkdir(parents=True)
        for number in range(12):
            noise = np.random.default_rng(number).normal(level, 30, (16, 16)).astype(np.float32)
            SimpleITK.WriteImage(
                SimpleITK.GetImageFromArray(noise), str(tmp_path / "scans" / kind / f"{number}.nii.gz")
            )
    cfg = lantu.compose("data=image_folder", f"data.path={tmp_path}/scans", "data.levels=[-1100,300]",
                        f"paths.root={tmp_path}").cfg  # fmt: skip
    from lantu.config.build import build

    data = build(cfg.data)
    data.prepare_data()
    x, y = data.splits["train"].__getitems__(list(range(len(data.splits["train"]))))
    means = pd.Series(x.mean(dim=(1, 2, 3)).numpy()).groupby(y.numpy()).mean()
    assert means[1] - means[0] > 1, "classes lie as far apart as their levels"
    assert data.spec["channels"] == 1


@pytest.mark.slow
def test_a_served_model_answers_scans_in_a_request_as_predict_answers_their_files(tmp_path: Path) -> None:
    pytest.importorskip("multipart", reason="needs the extra `serve`")
    from pytorch_lightning import Trainer
    from starlette.testclient import TestClient

    from lantu.inference.predict import predict
    from lantu.inference.rebuild import rebuild
    from lantu.serving.http.app import build_app
    from lantu.serving.serve_command import make_server

    for number in range(24):
        level = (-900, -100)[number % 2]
        pixels = np.random.default_rng(number).normal(level, 30, (1, 16, 16)).astype(np.int16)
        file = tmp_path / "scans" / ("air", "water")[number % 2] / f"{number:02}.{('dcm', 'nii.gz')[number // 12]}"
        file.parent.mkdir(parents=True, exist_ok=True)
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(pixels), str(file))
    options = ("model=linear", "data.levels=[-1100,300]", "test=false", "save_model=false", *SHORT)
    path = f"data.path={tmp_path}/scans"
    result = lantu.run(lantu.compose(f"paths.root={tmp_path}", "data=image_folder", path, *options))
    checkpoint = result.best_checkpoint
    assert checkpoint is not None
    trainer = Trainer(logger=False, enable_progress_bar=False, accelerator="cpu")
    expected = predict(rebuild(checkpoint), trainer, tmp_path / "scans")
    files = [Path(image) for image in expected["image"]]
    server = make_server(lantu.compose(f"run={checkpoint}", command="serve").cfg, None)
    with TestClient(build_app(server), base_url="http://localhost:8000") as client:
        sent = [("file", (file.name, file.read_bytes())) for file in files]
        several = client.post("/predict", files=sent).json()["predictions"]
        dicom = next(number for number, file in enumerate(files) if file.suffix == ".dcm")
        headers = {"content-type": "application/dicom"}
        alone = client.post("/predict", content=files[dicom].read_bytes(), headers=headers).json()["predictions"]
    assert [each["probability_water"] for each in several] == pytest.approx(expected["probability_water"].tolist())
    assert alone[0]["probability_water"] == pytest.approx(expected["probability_water"][dicom])
