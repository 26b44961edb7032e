"""HEADER, TEXT and DATA of a Flow Cytometry Standard file, read by the standard (2.0 to 3.2).

Written here rather than taken from a library: files in the field break the standard in a few
well-known ways, for which existing readers silently return wrong values. Where a file allows two
readings, the values decide which is possible; where they cannot, the file is refused. The tests
compare this reader with flowio on every file that both can read.

Spidlen et al. (2010), Data File Standard for Flow Cytometry, version FCS 3.1; (2021), FCS 3.2.
"""

import mmap
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

Content = bytes | memoryview | mmap.mmap
VERSIONS = ("2.0", "3.0", "3.1", "3.2")
HEADER_BYTES = 58
PADDING = b" \0"
# non-zero floats written by flow cytometers or their software lie within these bounds; where more
# than this share does not, the bytes were misread
POSSIBLE = 1e-10, 1e10
IMPOSSIBLE_SHARE = 0.1
LOOKED_AT = 20_000  # events from each end of a file
_STANDARD = re.compile(r"\$(PAR|TOT|MODE|BYTEORD|DATATYPE|(BEGIN|END)DATA|P\d+[BENRSG])", re.I)


@dataclass(frozen=True)
class Channel:
    """One parameter. bits: per stored value. kind: I, F or D. limit: the $PnR, 0 if absent.
    decades, log0: the $PnE, 0 for linear. gain: the $PnG, 1 if absent.
    """

    name: str
    marker: str
    bits: int
    kind: str
    limit: float
    decades: float
    log0: float
    gain: float

    @property
    def mask(self) -> int:
        """Mask of an integer's significant bits: those below the next power of 2 of the $PnR."""
        width = (int(np.ceil(self.limit)) - 1).bit_length() if self.limit >= 1 else self.bits
        return (1 << min(width or self.bits, self.bits)) - 1


@dataclass(frozen=True)
class Segments:
    """keywords: of TEXT, in capitals. values: (n_events, n_channels) as stored, integers masked to
    their range. notes: where the file contradicts itself, and how that was resolved.
    """

    version: str
    keywords: dict[str, str]
    channels: list[Channel]
    values: np.ndarray
    notes: list[str]


class SeveralDataSets(ValueError):
    """The file holds more than one data set."""


def read_segments(content: Content) -> Segments:
    """The first data set of a file.

    Raises SeveralDataSets, or ValueError saying why the file cannot be read.
    """
    version = _version(content)
    text_begin, text_end, *header_data = _header(content)
    text, text_end = _text_bytes(content, text_begin, text_end, header_data[0])
    keywords = _with_supplement(content, parse_text(text), text_begin)
    _require_one_data_set(content, keywords)
    mode = value_of(keywords, "MODE", "L").upper()
    if mode != "L":
        raise ValueError(f"its $MODE is {mode}, a histogram, not a list of cells")
    channels = _channels(keywords, version)
    told = value_of(keywords, "BYTEORD")
    layout = Layout(channels, _byte_order(told, max(c.bits for c in channels) // 8), told)
    places = [
        Place("HEADER", *header_data),
        Place("TEXT", _offset(keywords, "BEGINDATA"), _offset(keywords, "ENDDATA")),
    ]
    begin, n_events, notes = _found(content, places, layout, keywords, (text_begin, text_end))
    values = layout.decode(content, begin, n_events)
    _require_possible(content, begin, n_events, layout)
    return Segments(version, keywords, channels, values, notes)


# ---------------------------------------------------------------------- HEADER


def _version(content: Content) -> str:
    start = bytes(content[:6])
    if start not in [b"FCS" + version.encode() for version in VERSIONS]:
        raise ValueError(f"it starts with {start!r} instead of FCS{', FCS'.join(VERSIONS)}")
    return start[3:].decode()


def _header(content: Content) -> list[int]:
    """First and last byte of TEXT and of DATA; 0 where the header leaves an offset blank."""
    header = bytes(content[:HEADER_BYTES])
    fields = [
        header[start : start + 8].strip(b" \0").decode("latin-1") for start in (10, 18, 26, 34)
    ]
    if not all(re.fullmatch(r"-?\d*", field) for field in fields):
        raise ValueError(f"its header has {' '.join(fields)!r} where byte offsets are expected")
    begin, end, *data = (int(field or 0) if field != "-" else 0 for field in fields)
    if not 10 <= begin < end:
        raise ValueError(f"its header places TEXT at bytes {begin} to {end}")
    if begin >= len(content):
        raise ValueError(f"it ends after {len(content):,} bytes, before its keywords")
    return [begin, end, *(max(0, place) for place in data)]


# ---------------------------------------------------------------------- TEXT


def _text_bytes(content: Content, begin: int, end: int, data_begin: int) -> tuple[bytes, int]:
    """TEXT and its last byte; if it stops inside its last value, extended to the delimiter."""
    if end >= len(content):
        raise ValueError(
            f"it ends after {len(content):,} bytes, before byte {end:,}, where its keywords end"
        )
    text = bytes(content[begin : end + 1])
    delimiter = text[:1]
    # TEXT is often declared one byte too long, and then ends with the first byte of a value
    for told in (text[: max(0, data_begin - begin)], text):
        whole = told.rstrip(b"\0 \r\n\t")
        if delimiter in b" \r\n\t" and len(whole) < len(told):
            whole += delimiter
        if len(whole) > 1 and whole.endswith(delimiter):
            return whole, begin + len(whole) - 1
    stop = data_begin if data_begin > end else min(len(content), end + 1 + 256)
    rest, found, _ = bytes(content[end + 1 : stop]).partition(delimiter)
    if found and (not rest or (rest.isascii() and rest.decode("ascii").isprintable())):
        return text + rest + delimiter, end + len(rest) + 1
    return text, end


def parse_text(segment: bytes) -> dict[str, str]:
    """Keywords in capitals and their values.

    A delimiter inside a value is doubled. The standard forbids empty values, but files have them:
    since no keyword ends with a delimiter, two delimiters after a keyword mean an empty value.
    Raises ValueError for a keyword where a value should be, and for conflicting values of a keyword
    that determines how to read the cells.
    """
    try:
        text = segment.decode("utf-8")
    except UnicodeDecodeError:
        text = segment.decode("latin-1")
    delimiter = text[0]
    tokens = _tokens(text)
    keywords: dict[str, str] = {}
    names = [token.strip().upper() for token in tokens[::2]]
    for keyword, value in zip(names, tokens[1::2], strict=False):
        if _STANDARD.fullmatch(value.strip()):
            raise ValueError(
                f"its keyword {value.strip()} is where the value of {keyword!r} is expected; an "
                f"earlier value may contain the delimiter {delimiter!r} without doubling it"
            )
        before = keywords.setdefault(keyword, value)
        if before.strip() != value.strip() and _STANDARD.fullmatch(keyword):
            raise ValueError(f"it gives both {before!r} and {value!r} for {keyword}")
    return keywords


def _tokens(text: str) -> list[str]:
    """Keyword, value, keyword, …; the text begins with its delimiter."""
    delimiter = text[0]
    body = text[1:].removesuffix(delimiter)
    start = body.lstrip(delimiter)
    tokens: list[str] = []
    token = delimiter * ((len(body) - len(start)) // 2)
    sign = re.escape(delimiter)
    for piece, delimiters in re.findall(f"([^{sign}]+)({sign}*)", start):
        token += piece
        run, is_keyword = len(delimiters), len(tokens) % 2 == 0
        if run % 2:
            # one separates; another begins the next keyword where the delimiter is $ itself
            begins = run // 2 if is_keyword else min(run // 2, int(delimiter == "$"))
            tokens.append(token + delimiter * (run // 2 - begins))
            token = delimiter * begins
        elif run and is_keyword:
            tokens += [token, ""]
            token = delimiter * (run // 2 - 1)
        else:
            token += delimiter * (run // 2)
    return [*tokens, token]


def _with_supplement(content: Content, keywords: dict[str, str], text_begin: int) -> dict[str, str]:
    """Keywords plus those of a supplemental TEXT; the primary one has every required keyword."""
    begin, end = _offset(keywords, "BEGINSTEXT"), _offset(keywords, "ENDSTEXT")
    if not HEADER_BYTES <= begin < end < len(content) or begin == text_begin:
        return keywords
    segment = bytes(content[begin : end + 1])
    return parse_text(segment) | keywords if segment.strip(PADDING) else keywords


def value_of(keywords: dict[str, str], name: str, default: str = "") -> str:
    """The value of a standard keyword, even if its $ was omitted."""
    return keywords.get(f"${name}", keywords.get(name, default)).strip()


def _number(text: str) -> float | None:
    """A finite number, or None for anything else, including NA and empty text."""
    try:
        number = float(text.replace("_", "?"))
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _offset(keywords: dict[str, str], name: str) -> int:
    """A byte offset, 0 where none is given."""
    number = _number(value_of(keywords, name))
    return int(number) if number is not None and number > 0 else 0


def _require_one_data_set(content: Content, keywords: dict[str, str]) -> None:
    following = _offset(keywords, "NEXTDATA")
    if following and bytes(content[following : following + 3]) == b"FCS":
        raise SeveralDataSets("it holds more than one data set")


# ---------------------------------------------------------------------- channels


def _channels(keywords: dict[str, str], version: str) -> list[Channel]:
    number = _number(value_of(keywords, "PAR"))
    if number is None or number < 1 or number != int(number):
        told = value_of(keywords, "PAR")
        raise ValueError(
            f"its $PAR, the number of channels, is {told!r}" if told else "it has no $PAR"
        )
    kind = value_of(keywords, "DATATYPE").upper()
    return [_channel(keywords, version, kind, i) for i in range(1, int(number) + 1)]


def _channel(keywords: dict[str, str], version: str, kind: str, i: int) -> Channel:
    def of(letters: str) -> str:
        return value_of(keywords, f"P{i}{letters}")

    name, marker = of("N"), of("S")
    if f"$P{i}N" not in keywords and f"P{i}N" not in keywords and version != "2.0":
        raise ValueError(
            f"it has no $P{i}N, the name of channel {i} of {value_of(keywords, 'PAR')}"
        )
    kind = of("DATATYPE").upper() or kind
    if kind not in ("I", "F", "D"):
        what = "text" if kind == "A" else f"{kind!r}"
        raise ValueError(
            f"it stores values as {what} ($DATATYPE {kind}), not as numbers (I, F or D)"
        )
    bits = {"F": 32, "D": 64}.get(kind) or _number(of("B"))
    if bits is None or bits not in range(8, 65, 8):
        raise ValueError(f"integers of channel {i} have {of('B') or 'no'} bits ($P{i}B)")
    limit = _number(of("R")) or 0.0
    decades, log0 = _amplification(of("E"), i) if kind == "I" else (0.0, 0.0)
    if decades and limit < 1:
        raise ValueError(
            f"channel {i} is logarithmic ($P{i}E {of('E')}) without a range ($P{i}R {of('R')!r})"
        )
    gain = _number(of("G")) or 1.0
    return Channel(name or f"P{i}", marker, int(bits), kind, max(0.0, limit), decades, log0, gain)


def _amplification(text: str, i: int) -> tuple[float, float]:
    """(decades, value at 0) of an integer channel, 0 for a linear one. Floats are always linear."""
    parts = [_number(part) for part in re.split(r"[,;\s]+", text.strip()) if part]
    if all(part == 0 for part in parts):
        return 0.0, 0.0
    match parts:
        case [float(decades), float(log0)] if decades >= 0:
            return decades, log0 or 1.0
    raise ValueError(
        f"channel {i} is neither linear (0,0) nor logarithmic, with decades and a value at 0 (such "
        f"as 4,1): its $P{i}E is {text!r}"
    )


# ---------------------------------------------------------------------- DATA


@dataclass(frozen=True)
class Layout:
    """How an event is stored: one value after the other, without gaps.

    order: the significance of a value's bytes in storage order, 0 = the least. told: the $BYTEORD
    that it comes from.
    """

    channels: list[Channel]
    order: list[int]
    told: str

    @property
    def event_bytes(self) -> int:
        return sum(channel.bits for channel in self.channels) // 8

    def decode(self, content: Content, begin: int, n: int, masked: bool = True):
        """(n, n_channels) values as stored: float32 for plain 32-bit floats, else float64."""
        raw = np.frombuffer(content, np.uint8, n * self.event_bytes, begin)
        raw = raw.reshape(n, self.event_bytes)
        kinds = {(channel.kind, channel.bits) for channel in self.channels}
        if len(kinds) == 1 and self._plain(self.channels[0]):
            stored = raw.view(self._dtype(self.channels[0]))
            if self.channels[0].kind == "F":
                return stored.astype(np.float32)
            if masked and self.channels[0].kind == "I":
                stored = stored & np.array(
                    [c.mask for c in self.channels], stored.dtype.newbyteorder("=")
                )
            return stored.astype(np.float64)
        values = np.empty((n, len(self.channels)), dtype=np.float64)
        start = 0
        for i, channel in enumerate(self.channels):
            stop = start + channel.bits // 8
            values[:, i] = self._column(raw[:, start:stop], channel, masked)
            start = stop
        return values

    def _plain(self, channel: Channel) -> bool:
        return channel.bits in (8, 16, 32, 64) and self._significance(channel.bits // 8) in (
            [*range(channel.bits // 8)],
            [*range(channel.bits // 8)][::-1],
        )

    def _dtype(self, channel: Channel) -> np.dtype:
        size = channel.bits // 8
        little = self._significance(size)[0] == 0
        return np.dtype(f"{'<' if little else '>'}{'u' if channel.kind == 'I' else 'f'}{size}")

    def _significance(self, size: int) -> list[int]:
        """The significance of each byte of a value of `size` bytes, 0 = the least."""
        n = len(self.order)
        if size == n:
            return self.order
        if self.order in ([*range(n)], [*range(n)][::-1]):
            return [*range(size)] if self.order[0] == 0 and n > 1 else [*range(size)][::-1]
        # 3,4,1,2 gives the order for two-byte values, since both of its halves agree
        pieces = {
            tuple(np.argsort(np.argsort(self.order[start : start + size])).tolist())
            for start in range(0, n, size)
        }
        if size < n and n % size == 0 and len(pieces) == 1:
            return list(pieces.pop())
        raise ValueError(
            f"its $BYTEORD {self.told!r} does not say how values of {size} bytes are stored"
        )

    def _column(self, raw: np.ndarray, channel: Channel, masked: bool) -> np.ndarray:
        if self._plain(channel):
            column = np.ascontiguousarray(raw).view(self._dtype(channel))[:, 0]
        else:
            size = channel.bits // 8
            width = next(w for w in (1, 2, 4, 8) if w >= size)
            ordered = np.zeros((len(raw), width), dtype=np.uint8)
            for place, significance in enumerate(self._significance(size)):
                ordered[:, significance] = raw[:, place]
            kind = "u" if channel.kind == "I" else "f"
            column = ordered.view(f"<{kind}{width}")[:, 0]
        if masked and channel.kind == "I":
            column = column & column.dtype.type(channel.mask)
        return column


def _byte_order(text: str, size: int) -> list[int]:
    """The significance of the bytes in storage order, 0 = the least."""
    digits = re.findall(r"\d", text)
    known = re.fullmatch(r"[\d,;\s]*", text) and sorted(digits) == [
        str(i) for i in range(1, len(digits) + 1)
    ]
    if size == 1 and not digits:
        return [0]
    if not known or not digits or (len(digits) == 1 and size > 1):
        raise ValueError(f"its $BYTEORD is {text!r}, not an order such as 1,2,3,4 or 4,3,2,1")
    return [int(digit) - 1 for digit in digits]


@dataclass(frozen=True)
class Place:
    """Where one part of the file says that DATA is: first and last byte, 0 = not given."""

    source: str
    begin: int
    end: int

    def __str__(self) -> str:
        return f"{self.source}: bytes {self.begin} to {self.end or '?'}"


def _found(
    content: Content,
    places: list[Place],
    layout: Layout,
    keywords: dict[str, str],
    text: tuple[int, int],
) -> tuple[int, int, list[str]]:
    """First byte, number of events, notes; ValueError unless exactly one place fits."""
    told = _number(value_of(keywords, "TOT"))
    told = None if told is None or told < 0 or told != int(told) else int(told)
    given = [place for place in places if place.begin]
    if not given:
        if told == 0:
            return 0, 0, []
        raise ValueError("neither HEADER nor TEXT says where its values are")
    fitting: dict[int, int] = {}
    reasons = []
    for place in given:
        n, reason = _events(content, place, layout.event_bytes, told, text)
        if n is None:
            reasons.append(f"{place}: {reason}")
        else:
            # two places with one start differ only in their end; data beyond $TOT is no padding
            fitting[place.begin] = max(n, fitting.get(place.begin, 0))
    if not fitting:
        raise ValueError("; ".join(dict.fromkeys(reasons)))
    begin = _possible(content, fitting, layout, given)
    n, notes = fitting[begin], []
    if len({place.begin for place in given}) > 1:
        notes.append(
            f"HEADER and TEXT give different offsets for its values "
            f"({'; '.join(map(str, given))}); byte {begin} is right"
        )
    if told is not None and n != told:
        notes.append(f"its $TOT gives {told:,} events, but it has {n:,}; all are read")
    return begin, n, notes


def _events(
    content: Content,
    place: Place,
    event_bytes: int,
    told: int | None,
    text: tuple[int, int],
) -> tuple[int | None, str]:
    """(number of events at a place, ""), or (None, why there can be none)."""
    # where the last byte is not given, or equals the first, only $TOT gives the number of events
    known = place.end > place.begin
    there = (place.end if known else len(content) - 1) - place.begin + 1
    there = min(there, len(content) - place.begin)
    if told is None and not known:
        return None, "neither $TOT nor the last byte gives the number of events"
    if told is None:
        if place.end > len(content):
            return None, f"the file ends after {len(content):,} bytes"
        n, rest = divmod(there, event_bytes)
        if rest > 1:  # the last byte is often given one too high
            return None, f"{there:,} bytes are not a whole number of events of {event_bytes} bytes"
    else:
        n, size = told, told * event_bytes
        if there < size:
            return None, f"{told:,} events of {event_bytes} bytes do not fit into {there:,} bytes"
        more = bytes(content[place.begin + size : place.begin + there])
        if known and len(more) > 1 and more.strip(PADDING):
            further, rest = divmod(len(more), event_bytes)
            if rest > 1:
                return None, (
                    f"{there:,} bytes are neither {told:,} events of {event_bytes} bytes nor "
                    "another whole number of them"
                )
            n += further
    if place.begin <= text[1] and place.begin + n * event_bytes > text[0]:
        return None, "keywords are stored there"
    return n, ""


def _possible(
    content: Content, fitting: dict[int, int], layout: Layout, given: Iterable[Place]
) -> int:
    """The start at which the bytes are plausible values."""
    if len(fitting) == 1:
        return next(iter(fitting))
    good = [
        begin
        for begin, n in fitting.items()
        if _impossible(content, begin, n, layout) < IMPOSSIBLE_SHARE
    ]
    if len(good) == 1:
        return good[0]
    early, late = sorted(fitting)
    size = fitting[early] * layout.event_bytes
    gap = bytes(content[early:late]).strip(PADDING)
    tail = bytes(content[early + size : late + size]).strip(PADDING)
    # what lies before the first value or after the last one is padding
    if good and gap and not tail:
        return early
    if good and tail and not gap:
        return late
    raise ValueError(
        f"HEADER and TEXT give different offsets for its values ({'; '.join(map(str, given))}), "
        f"and {'both' if good else 'neither'} can be right"
    )


def _impossible(content: Content, begin: int, n: int, layout: Layout) -> float:
    """The share of values, among those checked, that no instrument writes."""
    half = min(n, LOOKED_AT)
    starts = {0, n - half}
    parts = [layout.decode(content, begin + s * layout.event_bytes, half, False) for s in starts]
    wrong = counted = 0
    with np.errstate(all="ignore"):
        for values in parts:
            size = np.abs(values.astype(np.float64))
            for i, channel in enumerate(layout.channels):
                column = size[:, i]
                if channel.kind == "I":
                    if channel.limit >= 1 and channel.mask + 1 < 1 << channel.bits:
                        counted += len(column)
                        wrong += int((column > channel.mask).sum())
                else:
                    column = column[(column != 0) & np.isfinite(column)]
                    counted += len(column)
                    wrong += int(((column < POSSIBLE[0]) | (column > POSSIBLE[1])).sum())
    return wrong / counted if counted else 0.0


def _require_possible(content: Content, begin: int, n: int, layout: Layout) -> None:
    """Raise ValueError for values implausible as declared but plausible if read another way."""
    share = _impossible(content, begin, n, layout)
    if share < IMPOSSIBLE_SHARE:
        return
    other = replace(layout, order=layout.order[::-1])
    readings = {"in the opposite byte order": (begin, other)}
    for shift in (-1, 1, -2, 2, -3, 3):
        if begin + shift + n * layout.event_bytes <= len(content):
            readings[f"from byte {begin + shift} instead of {begin}"] = (begin + shift, layout)
    for words, (place, stored) in readings.items():
        if _impossible(content, place, n, stored) < IMPOSSIBLE_SHARE:
            raise ValueError(
                f"read as declared, {share:.0%} of its values are impossible; read {words}, they "
                "are possible"
            )
