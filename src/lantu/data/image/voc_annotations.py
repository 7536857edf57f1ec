"""Read boxes in Pascal VOC's format: an XML file for each picture."""

from pathlib import Path
from xml.etree import ElementTree

from lantu.data.image.annotations import AnnotatedPictures, Annotations, part_of
from lantu.data.sources import PARTS


def read_voc(place: Path, pictures: AnnotatedPictures) -> Annotations:
    """Read Pascal VOC's XML files of a folder."""
    found = Annotations(box_format="xyxy")
    lists = {
        line.split()[0]: PARTS[file.stem]
        for file in place.rglob("ImageSets/Main/*.txt")
        if file.stem in PARTS
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.strip()
    }
    damaged, missing = [], []
    for file in sorted(place.rglob("*.xml")):
        try:
            root = ElementTree.parse(file).getroot()
            objects = [
                ([float(each.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax")],
                 str(each.findtext("name")).strip())
                for each in root.iter("object")
            ]  # fmt: skip
        except (ElementTree.ParseError, ValueError):
            damaged.append(file.name)
            continue
        named = str(root.findtext("filename") or file.with_suffix(".jpg").name)
        image = pictures.called(named, near=file.parent) or next(
            (each for each in pictures.files if each.stem == file.stem), None
        )
        if image is None:
            missing.append(file.name)
            continue
        part = lists.get(file.stem) or part_of(file.relative_to(pictures.root))
        found.add(image, part, [box for box, _ in objects], [name for _, name in objects])
        found.files.append(file)
    found.note(damaged, "annotation files that could not be read left out")
    found.note(missing, "pictures that are annotated and not there left out")
    return found
