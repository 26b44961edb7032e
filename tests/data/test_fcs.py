"""FCS files as instruments and exporters really write them: the right values, or one sentence."""

import io

import flowio
import numpy as np
import pytest

from moesimvae.data import recipe as recipes
from moesimvae.data.cells import read_cells
from moesimvae.data.fcs import is_scatter, read_fcs
from sentences import error

RNG = np.random.default_rng(3)
VALUES = RNG.normal(300, 80, (50, 3)).astype(np.float32)
COUNTS = RNG.integers(1, 1000, (50, 3))
CHANNELS = ["FSC-A", "FITC-A", "PE-A"]


def fcs(
    data=None,
    channels=CHANNELS,
    delimiter="/",
    version="3.0",
    head=lambda begin, end: (begin, end),
    text=lambda begin, end: (begin, end),
    last=True,
    after=b"",
    gap=b"",
    **keywords,
):
    """A file's bytes. head, text: places of DATA in HEADER and TEXT from the true ones, None =
    blank or left out. A keyword of None is left out; $ stands for `S_` at its start here.
    """
    data = VALUES.astype("<f4").tobytes() if data is None else data
    told = {"$BYTEORD": "1,2,3,4", "$DATATYPE": "F", "$MODE": "L", "$NEXTDATA": 0}
    told |= {"$PAR": len(channels), "$TOT": 50}
    for i, name in enumerate(channels, start=1):
        told |= {f"$P{i}N": name, f"$P{i}B": 32, f"$P{i}E": "0,0", f"$P{i}R": 262144}
    told |= {key.replace("S_", "$", 1): value for key, value in keywords.items()}
    told = {key: str(value) for key, value in told.items() if value is not None}

    def body(begin, end):
        places = {}
        if text is not None:
            first, final = text(begin, end)
            places = {"$BEGINDATA": f"{first:08d}", "$ENDDATA": f"{final:08d}"}
        signs = "".join(
            f"{quoted(k)}{delimiter}{quoted(v)}{delimiter}" for k, v in (places | told).items()
        )
        return (delimiter + (signs if last else signs[:-1])).encode("latin-1")

    def quoted(text):
        return text.replace(delimiter, 2 * delimiter)

    begin = 58 + len(body(0, 0)) + len(gap)
    end = begin + len(data) - 1
    written = body(begin, end)
    places = (58, 58 + len(written) - 1, *head(begin, end), 0, 0)
    header = f"FCS{version}    " + "".join("        " if p is None else f"{p:>8}" for p in places)
    return header.encode() + written + gap + data + after


def read(content):
    return read_fcs(io.BytesIO(content), "a.fcs")


def values(content):
    return read(content).values


def integers(dtype="<u2", bits=16, limit=1024, **more):
    each = {f"S_P{i}{k}": v for i in (1, 2, 3) for k, v in (("B", bits), ("R", limit))}
    data = np.asarray(more.pop("values", COUNTS)).astype(dtype).tobytes()
    return fcs(data, S_DATATYPE="I", **(each | more))


# ---------------------------------------------------------------------- where the values lie


def same(b, e):
    return b, e


PLACES = {
    "TEXT a byte before": {"text": lambda b, e: (b - 1, e)},
    "TEXT a byte after": {"text": lambda b, e: (b + 1, e + 1), "after": b"\0" * 4},
    "TEXT a channel after": {"text": lambda b, e: (b + 4, e + 4), "after": b"\0" * 64},
    "TEXT an event after": {"text": lambda b, e: (b + 12, e + 12), "after": b" " * 64},
    "HEADER a byte after": {"head": lambda b, e: (b + 1, e + 1), "after": b"\0" * 4},
    "HEADER two bytes before": {"head": lambda b, e: (b - 2, e - 2), "gap": b"\0" * 8},
    "HEADER a channel before": {"head": lambda b, e: (b - 4, e - 4), "gap": b"\0" * 8},
    "HEADER blank": {"head": lambda b, e: (None, None)},
    "HEADER 0": {"head": lambda b, e: (0, 0)},
    "HEADER's end blank": {"head": lambda b, e: (b, None)},
    "TEXT without them": {"text": None},
    "TEXT 0": {"text": lambda b, e: (0, 0)},
    "ends are beginnings": {"head": lambda b, e: (b, b), "text": lambda b, e: (b, b)},
    "ends one too far": {"head": lambda b, e: (b, e + 1), "text": lambda b, e: (b, e + 1)},
    "ends one too far, and a byte": {
        "head": lambda b, e: (b, e + 1),
        "text": lambda b, e: (b, e + 1),
        "after": b"0",
    },
    "only TEXT's end too far": {"text": lambda b, e: (b, e + 1)},
    "padded": {
        "head": lambda b, e: (b, e + 62),
        "text": lambda b, e: (b, e + 62),
        "after": bytes(62),
    },
    "a CRC": {"after": b"00000000"},
    "a gap before": {"gap": b" " * 100},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("order", "<>")
def test_the_place_at_which_the_values_are(place, order):
    told = "1,2,3,4" if order == "<" else "4,3,2,1"
    content = fcs(VALUES.astype(order + "f4").tobytes(), S_BYTEORD=told, **PLACES[place])
    file = read(content)
    np.testing.assert_array_equal(file.values, VALUES)
    differ = "byte" in place or "channel" in place or "event" in place
    assert bool(file.notes) == (differ and "ends" not in place)


@pytest.mark.parametrize("shift", [-4, 4, 12, -24])
def test_integers_and_two_places(shift):
    each = {"S_P1R": 1024, "S_P2R": 65536, "S_P3R": 65536}
    more = {"head": lambda b, e: (b + shift, e + shift), "gap": bytes(64), "after": bytes(64)}
    content = integers(values=COUNTS * [1, 60, 60], **(each | more))
    np.testing.assert_array_equal(values(content), COUNTS * [1, 60, 60])


def test_two_places_that_may_both_be_right_are_named():
    zeros = np.zeros((50, 3), np.float32)
    content = fcs(zeros.tobytes(), text=lambda b, e: (b + 4, e + 4), after=bytes(8))
    with pytest.raises(Exception, match=r"HEADER: bytes \d+ to \d+; TEXT: bytes \d+ to \d+"):
        read(content)


def test_numbers_of_events():
    twenty = read(fcs(S_TOT=20))
    np.testing.assert_array_equal(twenty.values, VALUES)
    assert twenty.notes == ["its $TOT gives 20 events, but it has 50; all are read"]
    for told in (None, 0):
        np.testing.assert_array_equal(values(fcs(S_TOT=told, version="2.0")), VALUES)
    assert "51 events of 12 bytes do not fit into 600 bytes" in error(read, fcs(S_TOT=51))
    cut = fcs()[:-24]
    assert "do not fit" in error(read, cut)
    assert "the file ends after" in error(read, fcs(S_TOT=None)[:-24])
    # blocks of zeros behind the last event are no events
    padded = fcs(VALUES.tobytes() + bytes(120), S_TOT=50)
    assert values(padded).shape == (50, 3)


def test_further_data_sets():
    np.testing.assert_array_equal(values(fcs(S_NEXTDATA=99999)), VALUES)
    np.testing.assert_array_equal(values(fcs(S_NEXTDATA=100)), VALUES)
    whole = fcs(S_NEXTDATA="00000000")
    content = fcs(S_NEXTDATA=f"{len(whole):08d}") + whole
    assert "more than one data set" in error(read, content)


# ---------------------------------------------------------------------- how they are stored

ORDERS = {
    ("<f4", "1, 2, 3, 4"): VALUES,
    (">f4", "4,3,2,1 "): VALUES,
    (">f4", " 4 ,3 ,2 ,1"): VALUES,
    ("<f4", "1,2"): VALUES,
    (">f4", "2,1"): VALUES,
    ("<f8", "1,2,3,4,5,6,7,8"): VALUES,
    (">f8", "8,7,6,5,4,3,2,1"): VALUES,
    (">f8", "4,3,2,1"): VALUES,
}


@pytest.mark.parametrize(("dtype", "told"), ORDERS)
def test_orders_of_bytes(dtype, told):
    content = fcs(VALUES.astype(dtype).tobytes(), S_BYTEORD=told, S_DATATYPE="FD"[dtype[2] == "8"])
    np.testing.assert_array_equal(values(content), VALUES)


def test_mixed_order_of_bytes():
    bytes_ = VALUES.astype("<f4").view(np.uint8).reshape(-1, 4)
    content = fcs(bytes_[:, [2, 3, 0, 1]].tobytes(), S_BYTEORD="3,4,1,2")
    np.testing.assert_array_equal(values(content), VALUES)
    shorts = integers("<u2", S_BYTEORD="3,4,1,2")
    np.testing.assert_array_equal(values(shorts), COUNTS)
    words = COUNTS.astype("<u4").view(np.uint8).reshape(-1, 4)[:, [2, 3, 0, 1]]
    each = {f"S_P{i}R": 1024 for i in (1, 2, 3)}
    content = fcs(words.tobytes(), S_DATATYPE="I", S_BYTEORD="3,4,1,2", **each)
    np.testing.assert_array_equal(values(content), COUNTS)


@pytest.mark.parametrize("told", ["1,2,3,3", "5,3,2,1", "", "big", "1", "3,4,1,2,7,8,5"])
def test_orders_that_say_nothing_are_refused(told):
    assert "$BYTEORD" in error(read, fcs(S_BYTEORD=told))
    eight = fcs(VALUES.astype("<f8").tobytes(), S_BYTEORD="3,4,1,2", S_DATATYPE="D")
    assert "does not say how values of 8 bytes" in error(read, eight)


def test_the_wrong_order_is_found_out():
    told = "read in the opposite byte order, they are possible"
    assert told in error(read, fcs(VALUES.astype(">f4").tobytes()))
    assert told in error(read, integers(">u2", S_BYTEORD="1,2,3,4"))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("bits", [8, 16, 24, 32, 40, 64])
def test_widths_of_integers(bits, order):
    size = bits // 8
    counts = COUNTS % 256 if bits == 8 else COUNTS
    raw = counts.astype("<u8").view(np.uint8).reshape(50, 3, 8)[:, :, :size]
    raw = raw[:, :, ::-1] if order == ">" else raw
    told = ",".join(str(i) for i in range(1, max(size, 4) + 1))
    told = told[::-1] if order == ">" else told
    content = integers("u1", bits, 1024 if size > 1 else 256, values=raw, S_BYTEORD=told)
    np.testing.assert_array_equal(values(content), counts)


def test_channels_of_several_widths_and_kinds():
    kinds = {"S_P1DATATYPE": "I", "S_P1B": 16, "S_P1R": 1024, "S_P3DATATYPE": "D", "S_P3B": 64}
    rows = np.empty(50, dtype=[("a", "<u2"), ("b", "<f4"), ("c", "<f8")])
    rows["a"], rows["b"], rows["c"] = COUNTS[:, 0], VALUES[:, 1], VALUES[:, 2]
    expected = np.column_stack([COUNTS[:, 0], VALUES[:, 1], VALUES[:, 2]])
    np.testing.assert_array_equal(values(fcs(rows.tobytes(), version="3.2", **kinds)), expected)
    np.testing.assert_array_equal(values(fcs(version="3.2", S_P1DATATYPE="F")), VALUES)
    rows = np.empty(50, dtype=[("a", ">u2"), ("b", ">u4"), ("c", "u1")])
    rows["a"], rows["b"], rows["c"] = COUNTS[:, 0], COUNTS[:, 1], COUNTS[:, 2] % 256
    each = {"S_P1B": 16, "S_P1R": 1024, "S_P2R": 4096, "S_P3B": 8, "S_P3R": 256}
    content = fcs(rows.tobytes(), S_DATATYPE="I", S_BYTEORD="4,3,2,1", **each)
    np.testing.assert_array_equal(values(content), COUNTS % [5000, 5000, 256])


@pytest.mark.parametrize("limit", [0, 1024.0, "1024.0", "NA", "", None, "1e3", "  1024 ", 1000])
def test_ranges_of_integers(limit):
    np.testing.assert_array_equal(values(integers(limit=limit)), COUNTS)


def test_bits_beyond_the_range_do_not_count():
    flagged = COUNTS + 4096
    np.testing.assert_array_equal(values(integers(values=flagged)), COUNTS)
    np.testing.assert_array_equal(values(integers(values=flagged, limit=1000)), COUNTS)
    np.testing.assert_array_equal(values(integers(values=flagged, limit=0)), flagged)


@pytest.mark.parametrize("told", ["0,0", "0", "", None, "0.0,0.0", "0, 0"])
def test_linear_amplifiers(told):
    np.testing.assert_array_equal(values(integers(S_P2E=told)), COUNTS)


def test_logarithmic_amplifiers():
    expected = 10 ** (4 * COUNTS[:, 1] / 1024)
    for told in ("4,1", "4,0", "4.0, 1.0"):
        np.testing.assert_allclose(values(integers(S_P2E=told))[:, 1], expected, rtol=1e-6)
    # floating point is linear, whatever an exporter leaves there
    for told in ("4.07918,1", "4,0", "NA"):
        np.testing.assert_array_equal(values(fcs(S_P2E=told)), VALUES)
    assert "neither linear (0,0) nor" in error(read, integers(S_P2E="4"))
    assert "without a range" in error(read, integers(limit=0, S_P2E="4,1"))


def test_kinds_that_are_no_lists_of_numbers():
    assert "$MODE is C, a histogram" in error(read, fcs(S_MODE="C"))
    assert "stores values as text" in error(read, fcs(S_DATATYPE="A"))
    assert "have 12 bits ($P1B)" in error(read, integers(bits=12))
    assert "it has no $PAR" in error(read, fcs(S_PAR=None))
    assert "it has no $P2N" in error(read, fcs(S_P2N=None))
    assert "FCS1.0" in error(read, fcs(version="1.0"))


def test_a_wrong_place_told_twice_is_found_out():
    def later(b, e):
        return b + 1, e + 1

    sentence = error(read, fcs(head=later, text=later, after=b"0"))
    begin = int(fcs()[26:34])
    assert f"read from byte {begin} instead of {begin + 1}, they are possible" in sentence


# ---------------------------------------------------------------------- keywords


@pytest.mark.parametrize("delimiter", [*"^.+?$[(*|\\/!,;\t\n\x0c\x1e~§"])
def test_any_delimiter(delimiter):
    markers = {"S_P1S": f"a{delimiter}b", "S_P2S": "CD3$", "S_P3S": "A$B"}
    file = read(fcs(delimiter=delimiter, **markers))
    np.testing.assert_array_equal(file.values, VALUES)
    assert file.names == [f"a{delimiter}b", "CD3$", "A$B"]


@pytest.mark.parametrize("delimiter", "/$\\|")
@pytest.mark.parametrize("empty", [("P1S",), ("P1S", "P2S"), ("P3S",), ("SYS", "P1S", "P3S")])
def test_empty_values(delimiter, empty):
    keywords = {"S_SYS": "x", "S_P1S": "CD3", "S_P2S": f"a{delimiter}b", "S_P3S": "CD8"}
    keywords |= {f"S_{name}": "" for name in empty} | {"S_P2R": 1024, "S_P3R": 1024, "S_P2E": "4,1"}
    data = COUNTS.astype("<u2").tobytes()
    bits = {f"S_P{i}B": 16 for i in (1, 2, 3)}
    file = read(fcs(data, delimiter=delimiter, S_DATATYPE="I", **keywords, **bits))
    markers = [keywords[f"S_P{i}S"] for i in (1, 2, 3)]
    assert file.names == [m or c for m, c in zip(markers, CHANNELS, strict=True)]
    np.testing.assert_allclose(file.values[:, 1], 10 ** (4 * COUNTS[:, 1] / 1024), rtol=1e-6)
    np.testing.assert_array_equal(file.values[:, 2], COUNTS[:, 2])


@pytest.mark.parametrize("gap", [b"", b"/", b" ", b"/  ", b"19/ "])
def test_the_last_value_is_whole(gap):
    whole = "CD" if gap.startswith(b"19") else "CD19"
    file = read(fcs(last=False, gap=gap, S_P3S=whole))
    assert file.names[2] == "CD19"
    np.testing.assert_array_equal(file.values, VALUES)


def test_text_told_as_too_long():
    content = fcs(S_P3S="CD19")
    end = int(content[18:26])
    for more in (1, 2):
        longer = content[:18] + f"{end + more:>8}".encode() + content[26:]
        file = read(longer)
        assert file.names[2] == "CD19"
        np.testing.assert_array_equal(file.values, VALUES)


def test_a_delimiter_that_was_not_doubled_is_told():
    content = fcs(S_P1S="a#b", S_P2S="CD4").replace(b"a#b", b"a/b")
    assert "its keyword $P2S is where the value of 'B' is expected" in error(read, content)


def test_a_keyword_said_twice():
    content = fcs(S_P3S="CD19").replace(b"$P3R/262144", b"$P2R/262143")
    assert "both '262144' and '262143' for $P2R" in error(read, content)


def test_keywords_in_a_supplement():
    told = {"S_BEGINSTEXT": "00000000", "S_ENDSTEXT": "00000000"}
    content = fcs(**told)
    supplement = b"/$P1S/CD3/$P2S/CD4/"
    places = (f"{len(content):08d}", f"{len(content) + len(supplement) - 1:08d}")
    content = fcs(S_BEGINSTEXT=places[0], S_ENDSTEXT=places[1]) + supplement
    assert read(content).names == ["CD3", "CD4", "PE-A"]


# ---------------------------------------------------------------------- names


def test_names_that_stand_twice_get_a_number():
    file = read(fcs(channels=["treatment", "PE-A", "treatment"]))
    assert file.names == ["treatment_1", "PE-A", "treatment_2"]
    assert file.notes == [
        "2 channels are named 'treatment'; they are renamed treatment_1, treatment_2"
    ]
    file = read(fcs(channels=["A", "A", "A_1"]))
    assert file.names == ["A_2", "A_3", "A_1"]
    # a marker that is another channel's name, behind a marker that stands twice
    file = read(fcs(S_P1S="CD3", S_P2S="FSC-A", S_P3S="CD3"))
    assert file.names == ["FSC-A", "FITC-A", "PE-A"]
    assert not file.notes
    file = read(fcs(version="2.0", S_P1N=None, S_P2N=""))
    assert file.names == ["P1", "P2", "PE-A"]


SCATTER = ["FSC-A", "FSC", "FSC.A", "FSC_H", "FS INT LIN", "FS Lin", "SS Log", "FS00", "FSC1-H"]
SCATTER += ["VSSC-A", "SSC-B-A", "Forward Scatter", "Side scatter-H", "FALS", "[FSC-A]", "FSCH"]
NO_SCATTER = ["CD3", "Ir191Di", "FITC-A", "SSEA-4", "FceRI", "FcgR", "Fas", "CD45", "DNA1", "Time"]
NO_SCATTER += ["FSIP1", "SSTR2", "Foxp3", "FSP1", "B220", "Ki-67", "pSTAT5", "FSHR"]


def test_channels_of_scattered_light():
    assert [name for name in SCATTER if not is_scatter(name)] == []
    assert [name for name in NO_SCATTER if is_scatter(name)] == []


@pytest.mark.parametrize("name", [*SCATTER, "FL1-H", "PE-Cy7-A"])
def test_a_flow_cytometer_by_its_channels(name):
    assert read(fcs(channels=[name, "FL1-H", "FL2-H"])).fluorescence
    assert read(fcs(channels=["P1", "P2", "P3"], S_P1S="FSC-A")).fluorescence
    assert not read(fcs(channels=["Ir191Di", "Nd142Di", "Nd143Di"])).fluorescence


# ---------------------------------------------------------------------- transformed already


@pytest.mark.parametrize("scale", [lambda v: np.arcsinh(v / 5), lambda v: np.log10(v + 1)])
@pytest.mark.parametrize("channels", [["Ir191Di", "Nd142Di", "Time"], ["FSC-A", "FL1-H", "FL2-H"]])
def test_values_that_are_transformed_already(tmp_path, scale, channels):
    raw = np.abs(RNG.normal(0, 1000, (200, 3)))
    shown = scale(raw).astype("<f4")
    shown[:, 2 if channels[2] == "Time" else 0] = np.arange(200)
    path = tmp_path / "a.fcs"
    path.write_bytes(fcs(shown.tobytes(), channels, S_TOT=200))
    file = read_cells(path)
    recipe, words = recipes.make(file, channels)
    assert recipe.steps == []
    assert "already transformed" in words
    recipe, _ = recipes.make(file, channels, "arcsinh")
    assert recipe.steps == [{"step": "arcsinh", "cofactor": 5.0}]
    assert recipes.make(file, channels, cofactor=5)[0].steps
    path.write_bytes(fcs(raw.astype("<f4").tobytes(), channels, S_TOT=200))
    assert recipes.make(read_cells(path), channels)[0].steps


def test_markers_of_which_only_some_seem_transformed(tmp_path):
    shown = np.abs(RNG.normal(0, 1, (200, 3))).astype("<f4") * [1, 2, 500]
    path = tmp_path / "a.fcs"
    path.write_bytes(fcs(shown.astype("<f4").tobytes(), ["Nd142Di", "Nd143Di", "X"], S_TOT=200))
    file = read_cells(path)
    recipe, words = recipes.make(file, list(file.cells.var_names))
    assert recipe.steps == [{"step": "arcsinh", "cofactor": 5.0}]
    assert "67% of the markers do not exceed 14: if they are already transformed" in words


def test_a_display_of_1024_channels_is_said_to_be_one(tmp_path):
    path = tmp_path / "a.fcs"
    path.write_bytes(integers(values=COUNTS))
    recipe, words = recipes.make(read_cells(path), CHANNELS)
    assert recipe.steps == [{"step": "arcsinh", "cofactor": 150.0}]
    assert "no marker exceeds 1,024" in words


# ---------------------------------------------------------------------- against another reader


def read_by_flowio(path):
    file = flowio.FlowData(str(path), ignore_offset_error=True)
    return file.as_array().astype(np.float32), file.pnn_labels, file.pns_labels


READ_BY_BOTH = {
    "F": fcs(),
    "F, gain": fcs(S_P2G="2.5", S_P3G=0),
    "time step": fcs(channels=["Time", "FL1", "FL2"], S_TIMESTEP="0.01", S_P1G="0.01"),
    "D": fcs(VALUES.astype("<f8").tobytes(), S_DATATYPE="D"),
    "I 16": integers(limit=1000, S_P2E="4,1"),
    "I 32": integers(">u4", 32, 262144, S_BYTEORD="4,3,2,1"),
    "I 8": integers("u1", 8, 256, values=COUNTS % 256),
    "a doubled delimiter": fcs(S_P2S="a/b"),
    "an end too far": fcs(text=lambda b, e: (b, e + 1), head=lambda b, e: (b, e + 1), after=b"0"),
}


@pytest.mark.parametrize("name", READ_BY_BOTH)
def test_as_flowio_reads_it(name, tmp_path):
    path = tmp_path / "a.fcs"
    path.write_bytes(READ_BY_BOTH[name])
    expected, channels, markers = read_by_flowio(path)
    file = read_fcs(path)
    np.testing.assert_array_equal(file.values, expected)
    assert file.channels == channels
    assert file.names == [m or c for m, c in zip(markers, channels, strict=True)]


def test_real_files_as_flowio_reads_them(shared_data):
    paths = sorted(shared_data.glob("*/*.fcs"))
    assert len(paths) >= 58
    for path in paths:
        expected, channels, _ = read_by_flowio(path)
        file = read_fcs(path)
        np.testing.assert_array_equal(file.values, expected, err_msg=str(path))
        assert file.channels == channels
        assert not file.notes
