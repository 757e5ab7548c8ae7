"""Rows of the data as pictures of the page."""

from pathlib import PurePath

from cliptune.doctor.places import Place
from cliptune.page.markup import Markup, el
from cliptune.page.pictures import Pictures


def picture(place: Place, pictures: Pictures) -> Markup:
    """The picture of a row, or a box that says that there is none."""
    return pictures.image(place.key, name_of(place))


def thumb(place: Place, pictures: Pictures) -> Markup:
    """The picture with its name."""
    inner = picture(place, pictures), el("figcaption", name_of(place))
    return el("figure", inner, class_="thumb", title=f"{place.path} {place.detail}".strip())


def name_of(place: Place) -> str:
    """The file's name; of an image in a table, split and row."""
    return PurePath(place.path).name if "." in PurePath(place.path).name else f"{place.split} {place.row}"
