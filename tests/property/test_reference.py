"""References: every form of a reference leads back to it."""

from __future__ import annotations

import string

from hypothesis import given, settings
from hypothesis import strategies as st

from distore.errors import InvalidArgument
from distore.oci.digest import Digest
from distore.oci.reference import Reference

ALNUM = string.ascii_lowercase + string.digits

words = st.text(ALNUM, min_size=1, max_size=5)
separators = st.sampled_from([".", "_", "__", "-", "---"])


@st.composite
def components(draw: st.DrawFn) -> str:
    text = draw(words)
    for _ in range(draw(st.integers(0, 2))):
        text += draw(separators) + draw(words)
    return text


hosts = st.one_of(
    st.sampled_from(["docker.io", "index.docker.io", "localhost", "[fc00::1]", "10.0.0.1", "Host"]),
    st.builds("{}.{}".format, words, words),
)
ports = st.one_of(st.just(""), st.integers(0, 65535).map(":{}".format))
domains = st.builds("{}{}/".format, hosts, ports)
tags = st.one_of(
    st.just(""),
    st.from_regex(r"\A:[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}\Z"),
)
digests = st.one_of(st.just(""), st.binary(max_size=4).map(lambda data: f"@{Digest.of(data)}"))
paths = st.lists(components(), min_size=1, max_size=3).map("/".join)
# Without a host, a first component with a dot would be one.
names = st.one_of(
    st.builds("{}{}".format, domains, paths),
    st.builds("{}/{}".format, words, paths),
    components(),
)
texts = st.builds("{}{}{}".format, names, tags, digests)


@settings(deadline=None)
@given(text=texts)
def test_the_normal_and_the_short_form_parse_to_the_same_reference(text: str) -> None:
    reference = Reference.parse(text)

    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference
    assert len(reference.familiar) <= len(str(reference))
    assert Reference.parse_name(reference.name).name == reference.name


@settings(deadline=None)
@given(text=texts)
def test_normalising_keeps_what_was_said(text: str) -> None:
    reference = Reference.parse(text, default_tag=None)
    rest, _, digest = text.partition("@")

    assert (reference.digest or "") == digest
    assert str(reference).endswith(text.rpartition("/")[2])
    assert (reference.tag is not None) == (":" in rest.rpartition("/")[2])


@settings(deadline=None)
@given(text=st.one_of(st.text(max_size=40), st.text("ab./:@_-[]A\n", max_size=40)))
def test_any_text_parses_to_a_normal_form_or_is_refused_in_one_line(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except InvalidArgument as error:
        assert str(error).isprintable()
    else:
        assert Reference.parse(str(reference)) == Reference.parse(reference.familiar) == reference
