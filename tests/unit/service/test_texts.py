import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.texts import sha256, storable


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "a\udfffb"])
def test_what_postgres_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="contains a"):
        storable(text)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_everything_else_stays_as_it_is(text: str) -> None:
    assert storable(text) == text


def test_a_text_is_known_by_its_utf8() -> None:
    assert sha256("é") == hashlib.sha256(b"\xc3\xa9").digest()
