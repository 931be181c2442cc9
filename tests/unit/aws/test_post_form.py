"""The multipart form of a browser upload."""

import pytest

from strongroom.aws.errors import S3Error
from strongroom.aws.post_form import MAX_FIELD_BYTES, MAX_FIELDS, FormReader

BOUNDARY = "7d9f3e2c"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def part(name, value, *, filename=None):
    disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
    data = value if isinstance(value, bytes) else value.encode()
    return f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + data + b"\r\n"


def form(*parts):
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def read(body, content_type=CONTENT_TYPE):
    reader = FormReader(content_type)
    data = reader.feed(body)
    reader.finish()
    return reader, data


def refusal(body, content_type=CONTENT_TYPE):
    with pytest.raises(S3Error) as caught:
        read(body, content_type)
    return caught.value


FORM = form(
    part("key", "user/${filename}"), part("X-Amz-Meta-A", "b"), part("file", b"\r\n--\x00data", filename="a.jpg")
)


def test_fields_then_file():
    reader, data = read(FORM)
    assert data == b"\r\n--\x00data"
    assert reader.fields == {"key": "user/a.jpg", "x-amz-meta-a": "b"}
    assert (reader.filename, reader.file_started, reader.done) == ("a.jpg", True, True)


def test_byte_by_byte():
    reader = FormReader(CONTENT_TYPE)
    data = b""
    for byte in FORM:
        piece = reader.feed(bytes([byte]))
        assert reader.file_started or not piece
        data += piece
    reader.finish()
    assert data == b"\r\n--\x00data"
    assert reader.fields == {"key": "user/a.jpg", "x-amz-meta-a": "b"}


def test_the_file_streams():
    reader = FormReader(f'multipart/form-data; boundary="{BOUNDARY}"')
    head = part("key", "a") + part("file", b"", filename="x").removesuffix(b"\r\n")
    assert reader.feed(head) == b""
    assert reader.file_started
    assert reader.feed(b"x" * 100_000) == b"x" * 100_000
    assert not reader.done


def test_the_file_is_the_field_of_that_name_only():
    reader, data = read(form(part("key", "a", filename="key"), part("FILE", b"x")))
    assert (reader.fields, data, reader.filename) == ({"key": "a"}, b"x", None)


@pytest.mark.parametrize(
    ("filename", "key"),
    [
        ("b.txt", "a/b.txt"),
        ("C:\\Users\\me\\b.txt", "a/b.txt"),
        ("../../etc/passwd", "a/passwd"),
        ("", "a/"),
        (None, "a/${filename}"),
        ("ü—.pdf", "a/ü—.pdf"),
    ],
)
def test_the_filename_variable(filename, key):
    body = form(part("key", "a/${filename}"), part("policy", "${filename}"), part("file", "x", filename=filename))
    reader, _ = read(body)
    assert reader.fields == {"key": key, "policy": "${filename}"}


def test_repeated_fields_are_joined():
    reader, _ = read(form(part("x-amz-meta-a", "1"), part("X-AMZ-META-A", "2"), part("file", "x")))
    assert reader.fields == {"x-amz-meta-a": "1,2"}


def test_fields_after_the_file_are_ignored():
    reader, data = read(form(part("key", "a"), part("file", "x"), part("key", "b"), part("acl", "c" * 50_000)))
    assert (reader.fields, data) == ({"key": "a"}, b"x")


def test_exactly_one_file():
    message = "POST requires exactly one file upload per request."
    none = refusal(form(part("key", "a")))
    assert (none.code, none.message) == ("InvalidArgument", message)
    assert none.detail == {"ArgumentName": "file", "ArgumentValue": "0"}
    assert refusal(form(part("file", "x"), part("file", "y"))).message == message


def test_fields_are_bounded():
    name, value = "key", "v" * (MAX_FIELD_BYTES - len("key") - len("file"))
    read(form(part(name, value), part("file", "x" * 100_000)))
    error = refusal(form(part(name, value + "v"), part("file", "x")))
    assert (error.code, error.status) == ("MaxPostPreDataLengthExceeded", 400)
    assert error.detail == {"MaxPostPreDataLengthBytes": "20480"}
    many = [part(f"f{number}", "") for number in range(MAX_FIELDS)]
    assert refusal(form(*many, part("file", "x"))).code == "MaxPostPreDataLengthExceeded"
    # A file under another name is a field.
    assert refusal(form(part("upload", "x" * 30_000, filename="a"))).code == "MaxPostPreDataLengthExceeded"


@pytest.mark.parametrize(
    "content_type", ["", "text/html", "application/x-www-form-urlencoded", "multipart/mixed; boundary=a"]
)
def test_other_content_types(content_type):
    error = refusal(FORM, content_type)
    assert (error.code, error.status) == ("PreconditionFailed", 412)
    assert error.detail == {"Condition": "Bucket POST must be of the enclosure-type multipart/form-data"}


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'b' * 300}"],
)
def test_bad_boundaries(content_type):
    assert refusal(FORM, content_type).code == "MalformedPOSTRequest"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"key=a",
        FORM[:-10],
        FORM[:60],
        form(b"--7d9f3e2c\r\n\r\nx\r\n"),
        form(b"--7d9f3e2c\r\nContent-Disposition: form-data\r\n\r\nx\r\n"),
        form(b'--7d9f3e2c\r\nContent-Disposition: file; name="file"\r\n\r\nx\r\n'),
        form(b"--7d9f3e2c\r\nA" + b"a" * 5000 + b": b\r\n\r\nx\r\n"),
        form(b"--7d9f3e2c\r\n" + b"A: b\r\n" * 50 + b"\r\nx\r\n"),
        form(part("key", b"\xff"), part("file", "x")),
        form(part("file", "x", filename="ÿ")).replace("ÿ".encode(), b"\xff"),
    ],
    ids=[
        "empty", "not_multipart", "cut", "cut_in_header", "no_headers", "no_name", "not_form_data", "long_header",
        "many_headers", "value_not_utf8", "filename_not_utf8",
    ],
)  # fmt: skip
def test_malformed_forms(body):
    error = refusal(body)
    assert (error.code, error.status) == ("MalformedPOSTRequest", 400)
