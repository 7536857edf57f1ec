"""Pictures a second of `data.decode=each` against torchvision's reference loader and against decoding alone.

    python scripts/bench/images.py --pictures DIR          # JPEG files of your own, one folder per class
    python scripts/bench/images.py --count 600             # 500×375 pixels, made of noise and shapes

Every loader has the same number of worker processes; they take turns, and the best of three passes counts. Without
workers (the default) processor time is measured, which other programs hardly change, else the time that passes.
`decode`
opens and decodes each file with Pillow and does nothing else: no loader that uses Pillow can be faster.
"""

import argparse
import io
import tarfile
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from lantu.data import Augment, ImageDataModule, image_parquet, webdataset

SIDE, BATCH = 224, 64


def make(folder: Path, count: int) -> None:
    """Photograph-like JPEG files of 500×375 pixels, about 40 KB each, in two classes."""
    random = np.random.default_rng(0)
    for number in range(count):
        noise = random.integers(0, 255, (48, 64, 3), dtype=np.uint8)
        picture = Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC)
        grain = Image.fromarray(random.integers(0, 255, (375, 500, 3), dtype=np.uint8)).filter(ImageFilter.BoxBlur(1))
        picture = Image.blend(picture, grain, 0.25)
        ImageDraw.Draw(picture).ellipse((100, 80, 300, 250), fill=tuple(random.integers(0, 255, 3).tolist()))
        place = folder / ("even", "odd")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        picture.save(place / f"{number:05}.jpg", quality=85)


def shard(folder: Path, place: Path) -> Path:
    """The same files in one tar shard."""
    place.mkdir()
    with tarfile.open(place / "shard-0000.tar", "w") as archive:
        for file in sorted(folder.rglob("*.jpg")):
            data = file.read_bytes()
            member = tarfile.TarInfo(str(file.relative_to(folder)))
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return place


def parquet(folder: Path, place: Path) -> Path:
    """The same files in one Parquet file in the hub's layout, 100 in a row group as the hub writes them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    place.mkdir()
    files = sorted(folder.rglob("*.jpg"))
    pictures = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    table = pa.table({"image": pictures, "label": [file.parent.name for file in files]})
    pq.write_table(table, place / "train-00000-of-00001.parquet", row_group_size=100)
    return place


def decode(files: list[str]) -> int:
    """Decode files and throw the pixels away."""
    for file in files:
        with Image.open(file) as picture:
            picture.convert("RGB").load()
    return len(files)


def limit(files: list[str], workers: int) -> float:
    if not workers:
        begun = time.process_time()
        decode(files)
        return len(files) / (time.process_time() - begun)
    parts = [files[number::workers] for number in range(workers)]
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(decode, [part[:8] for part in parts]))
        begun = time.perf_counter()
        list(pool.map(decode, parts))
        return len(files) / (time.perf_counter() - begun)


def rate(loader: Any, workers: int) -> float:
    """Pictures a second of a pass over a loader."""
    clock = time.perf_counter if workers else time.process_time
    begun, count = clock(), 0
    for x, _ in loader:
        assert x.shape[1:] == (3, SIDE, SIDE)
        count += len(x)
    return count / (clock() - begun)


def reference(folder: Path, workers: int, *, crops: bool) -> DataLoader:
    """torchvision's reference for training (references/classification/presets.py), or with a fixed size instead."""
    size = v2.RandomResizedCrop(SIDE, antialias=True) if crops else v2.Resize((SIDE, SIDE), antialias=True)
    normalize = v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    transform = v2.Compose(
        [size, v2.RandomHorizontalFlip(), v2.PILToTensor(), v2.ToDtype(torch.float, scale=True), normalize]
    )
    data = ImageFolder(str(folder), transform=transform)
    return DataLoader(data, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)


def ours(workers: int, cache: Path, augment: Augment, **options: Any) -> Any:
    data = ImageDataModule(
        size=SIDE, decode="each", duplicates="keep", workers=workers, batch_size=BATCH, cache=str(cache),
        augment=augment, split={"val": 0.02, "test": 0}, **options,
    )  # fmt: skip
    data.prepare_data()
    data.setup("fit")
    return data.train_dataloader()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, help="a folder with a folder for each class")
    parser.add_argument("--count", type=int, default=600, help="how many pictures are made without it")
    parser.add_argument("--workers", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        folder = given.pictures or root / "pictures"
        if given.pictures is None:
            make(folder, given.count)
        files = [str(file) for file in sorted(folder.rglob("*.jpg"))]
        light, crops = Augment(flip=0.5, shift=0.125), Augment(flip=0.5, zoom=0.08)
        tar, hub = shard(folder, root / "shards"), parquet(folder, root / "hub")
        torch.set_num_threads(1)  # as in a worker
        count = given.workers
        loaders = {
            "torchvision, resized": reference(folder, count, crops=False),
            "torchvision, random crops": reference(folder, count, crops=True),
            "data=image_folder augment=light": ours(count, root, light, path=str(folder)),
            "data=image_folder, random crops": ours(count, root, crops, path=str(folder)),
            "data=webdataset augment=light": ours(
                count, root, light, source=lambda: webdataset(str(tar)), target="label"
            ),
            "data=image_parquet augment=light": ours(
                count, root, light, source=lambda: image_parquet(str(hub)), target="label"
            ),
        }
        rows: dict[str, float] = {}
        for _ in range(3):
            rows["decode"] = max(rows.get("decode", 0.0), limit(files, count))
            for name, loader in loaders.items():
                rows[name] = max(rows.get(name, 0.0), rate(loader, count))
        most = rows["decode"]
        print(f"{len(files):,} pictures, {given.workers} workers")
        for name, value in rows.items():
            print(f"{name:34} {value:8,.0f} pictures/s  {value / most:5.0%} of decoding alone")


if __name__ == "__main__":
    main()
