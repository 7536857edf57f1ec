"""Read boxes in Pascal VOC's format: an XML file for each picture."""

from pathlib import Path
from xml.etree import ElementTree

from lantu.data.image.annotations import AnnotatedPictures, Annotations, files_ending, part_of
from lantu.data.sources import PARTS


def read_voc(place: Path, pictures: AnnotatedPictures) -> Annotations:
    """Read Pascal VOC's XML files of a folder."""
    found = Annotations(box_format="xyxy")
    lists = {
        line.split()[0]: PARTS[file.stem]
        for file in files_ending(place, ".txt")
        if file.stem in PARTS and file.parts[-3:-1] == ("ImageSets", "Main")
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.strip()
    }
    damaged, missing = [], []
    for file in files_ending(place, ".xml"):
        try:
            root = ElementTree.parse(file).getroot()
            objects = [
                ([float(each.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax")],
                 _name(each))
                for each in root.iter("object")
            ]  # fmt: skip
        except (ElementTree.ParseError, ValueError, LookupError):
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


def _name(element: ElementTree.Element) -> str:
    """The class of an object.

    Raises:
        ValueError: it has none.
    """
    name = element.findtext("name", "").strip()
    if not name:
        raise ValueError("an object without a name")
    return name
