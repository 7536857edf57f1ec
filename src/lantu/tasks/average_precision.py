"""COCO's average precision, with what a split cannot tell left out."""

import re
from typing import Any

from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from lantu.errors import UserError

UNKNOWN = -1
"""What COCO's evaluation says where there is no object of a kind."""


class AveragePrecision(MeanAveragePrecision):
    """Mean average precision over classes and IoU .50 to .95, and its parts, as torchmetrics measures them.

    `compute` gives `map`, `map_50`, `map_75`; `map_small`, `map_medium`, `map_large` (objects below 32² pixels of the
    original picture, below 96², above); `mar_1`, `mar_10` and `mar_100`, the average recall of that many boxes a
    picture; and `ap_CLASS` for each of several classes. What the split has no object for is left out.

    Args:
        class_names: in the order of their numbers.
        most: boxes of a picture that count.

    Raises:
        UserError: faster-coco-eval is not installed.
    """

    def __init__(self, class_names: list[str], *, most: int = 100, **options: Any) -> None:
        try:
            super().__init__(
                box_format="xyxy",
                class_metrics=len(class_names) > 1,
                max_detection_thresholds=[1, 10, most],
                backend="faster_coco_eval",
                **options,
            )
        except ModuleNotFoundError as error:
            raise UserError("average precision needs faster-coco-eval: `pip install 'lantu[detection]'`.") from error
        self.warn_on_many_detections = False  # no more than `most` of a picture are handed over
        self.class_names = class_names

    def compute(self) -> dict[str, Tensor]:
        found = super().compute()
        per_class, classes = found.pop("map_per_class"), found.pop("classes").reshape(-1).tolist()
        found = {name: value for name, value in found.items() if value.numel() == 1 and float(value) != UNKNOWN}
        if len(self.class_names) > 1:
            values = dict(zip(classes, per_class.reshape(-1), strict=True))
            for number, name in enumerate(self.class_names):
                if number in values and float(values[number]) != UNKNOWN:
                    found[f"ap_{_plain(name)}"] = values[number]
        return found


def _plain(name: str) -> str:
    """A class's name in the letters that MLflow allows in the name of a metric."""
    return re.sub(r"[^\w.\- ]", "_", name)
