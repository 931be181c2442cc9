"""Texts in documents: every character a key may have is written, and a parser reads back what it can hold."""

from xml.etree.ElementTree import ParseError, fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.aws.model import load_s3_model
from strongroom.aws.xml_writer import compile_writer, error_document, escape, text_document

TAG = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def object_writer():
    shape = load_s3_model().operations["ListObjectsV2"].output
    assert shape is not None
    contents = shape.members["Contents"].shape.item
    assert contents is not None
    return compile_writer("Contents", contents.shape)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("<&>\"'", "&lt;&amp;&gt;&quot;'"),
        ("a\rb\nc\td", "a&#xD;b\nc\td"),
        ("\x00\x01\x1f", "&#x0;&#x1;&#x1F;"),
        ("\ufffe\uffff", "&#xFFFE;&#xFFFF;"),
        ("\ud800", "&#xD800;"),
        ("\x7f\x85\u2028\N{LOCK}", "\x7f\x85\u2028\N{LOCK}"),
    ],
)
def test_escape__every_character_is_written(key, text):
    assert escape(key) == text
    assert f"<Key>{text}</Key>" in object_writer()({"Key": key}).decode()


def test_write__a_key_that_xml_cannot_hold_is_no_lie():
    # The document says which character it is; no XML 1.0 parser accepts it, those of AWS's own clients included.
    with pytest.raises(ParseError):
        fromstring(object_writer()({"Key": "\x01"}))


@given(st.text(st.characters(codec="utf-8", exclude_characters="\ufffe\uffff", min_codepoint=32)) | st.just("\r\n\t"))
def test_write__every_other_key_is_read_back(key):
    assert fromstring(object_writer()({"Key": key})).findtext(f"{TAG}Key") == key
    assert fromstring(text_document("LocationConstraint", key)).text == (key or None)


@given(st.text())
def test_error_document__can_always_be_parsed(text):
    assert fromstring(error_document({"Code": "NoSuchKey", "Key": text})).tag == "Error"
