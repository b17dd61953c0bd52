"""The YAML reader gives what a reader of the file expects, and refuses what could harm or surprise."""

from __future__ import annotations

import time

import pytest

from equipot.config.yaml_reader import parse_yaml, read_yaml
from equipot.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("1.", 1.0),
        (".5", 0.5),
        ("-2", -2),
        ("0", 0),
        ("3.0", 3.0),
        ("-1.5e+3", -1500.0),
        ("No", "No"),
        ("On", "On"),
        ("Off", "Off"),
        ("yes", "yes"),
        ("y", "y"),
        ("N", "N"),
        ("010", "010"),
        ("0o10", "0o10"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("12:30:00", "12:30:00"),
        ("2024-01-01", "2024-01-01"),
        ("nan", "nan"),
        ("inf", "inf"),
        ("=", "="),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("'1'", "1"),
        ('"true"', "true"),
        ("''", ""),
    ],
)
def test_scalars(text, value):
    found = parse_yaml(f"key: {text}", "x.yaml")["key"]
    assert found == value and type(found) is type(value)


def test_keys_are_text():
    assert parse_yaml("{No: 1, 1: 2, true: 3, null: 4, 1e-3: 5}", "x") == {
        "No": 1,
        "1": 2,
        "true": 3,
        "null": 4,
        "1e-3": 5,
    }


def test_nobelium_and_nitrogen_stay_elements():
    assert parse_yaml("elements: [C, No, N, Y, On]", "x")["elements"] == ["C", "No", "N", "Y", "On"]


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (BOMB, "line 1: anchors"),
        ("a: 1\nb: *a\n", "line 2: anchors"),
        ("a: !!python/object/apply:os.system [echo]\n", "line 1: the tag"),
        ("a: !!str 1\n", "line 1: the tag"),
        ("a: !x 1\n", "line 1: the tag"),
        ('a: 1\nb: "\\U00110000"\n', "line 2: an escape in double quotes"),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "line 4: the key 'c' is given a second time (first at line 3)"),
        ("? [a, b]\n: 1\n", "line 1: a key is a list"),
        ("a: 1\n---\nb: 1\n", "line 2: a second document"),
        ("a: [1, 2\n", "line 2"),
        ("a: 1\n\tb: 2\n", "line 2"),
        ("a: \x01\n", "not readable as YAML"),
        ("[" * 1000, "more than 32 levels"),
        ("{a: " * 1000, "more than 32 levels"),
        ("a: " + "9" * 5000, "has 5000 digits"),
        ("- 1\n- 2\n", "line 1: the file holds a list of 2 values"),
        ("just words\n", "line 1: the file holds the text"),
    ],
)
def test_refused(tmp_path, text, part):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    start = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert time.monotonic() - start < 1.0
    assert str(caught.value).startswith(str(path)) and part in str(caught.value)


def test_tag_is_never_executed(tmp_path):
    path, trace = tmp_path / "run.yaml", tmp_path / "executed"
    path.write_text(f"a: !!python/object/apply:os.system ['touch {trace}']\n")
    with pytest.raises(ConfigError):
        read_yaml(path)
    assert not trace.exists()


def test_50_mb_are_refused_at_once(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_bytes(b"a: 1\n" * 10_000_000)
    start = time.monotonic()
    with pytest.raises(ConfigError, match="larger than 1000 kB"):
        read_yaml(path)
    assert time.monotonic() - start < 1.0


def test_many_entries_are_refused():
    with pytest.raises(ConfigError, match="20000 entries"):
        parse_yaml("[" + "1," * 20_001 + "]", "x")


def test_files_that_are_none(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        read_yaml(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="is a folder"):
        read_yaml(tmp_path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"a: 1\n\xff\xfe\x00")
    with pytest.raises(ConfigError, match="line 2: not UTF-8 text"):
        read_yaml(binary)


def test_bom_crlf_and_empty(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb:\r\n  - x\r\n")
    assert read_yaml(path) == {"a": 1, "b": ["x"]}
    path.write_bytes(b"# only a comment\n")
    assert read_yaml(path) == {}


def test_places():
    value = parse_yaml("a: 1\nb:\n  c: [1,\n      2]\n", "x.yaml")
    assert value.places["b"] == "x.yaml, line 2" and value["b"].places["c"] == "x.yaml, line 3"
    assert value["b"]["c"].places == ["x.yaml, line 3", "x.yaml, line 4"]
