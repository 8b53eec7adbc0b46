"""Music, series, running text, speech and sentence pairs; spectrograms; loaders of sequences."""

from __future__ import annotations

import gzip
import os
import wave
from pathlib import Path

import numpy as np
import pytest

from nonet import data, io
from nonet.data import BucketLoader, DataError, StreamLoader

REAL = os.environ.get("NONET_DATA")
needs_data = pytest.mark.skipif(REAL is None, reason="needs NONET_DATA, the parent of the sets' folders")


def real(name: str) -> Path:
    assert REAL is not None
    return Path(REAL) / name


def write_music(path: Path, lengths=(3, 5), key=0):
    arrays = {}
    for part in ("train", "valid", "test"):
        rolls = np.zeros((sum(lengths), 88), np.uint8)
        rolls[:, key] = 1
        arrays[f"{part}_lengths"] = np.array(lengths, np.int32)
        arrays[f"{part}_frames"] = np.packbits(rolls, axis=1)
    np.savez(path, **arrays)


def write_wave(path: Path, values: np.ndarray, width: int = 2, rate: int = 8000):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if values.ndim == 1 else values.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(values.tobytes())


# ---- music
def test_music(tmp_path):
    write_music(tmp_path / "jsb_chorales.npz", key=87)
    music = data.load_music("jsb", tmp_path)
    assert [piece.shape for piece in music.test] == [(3, 88), (5, 88)]
    assert music.train[1].dtype == np.float32 and (music.train[1].sum(axis=1) == 1).all()
    assert (music.train[1][:, 87] == 1).all()
    with pytest.raises(DataError, match="nottingham.npz: expected a file, found none"):
        data.load_music("nottingham", tmp_path)
    (tmp_path / "nottingham.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="expected arrays of lengths and frames"):
        data.load_music("nottingham", tmp_path)
    np.savez(
        tmp_path / "nottingham.npz", train_lengths=np.array([2]), train_frames=np.zeros((3, 11), np.uint8)
    )
    with pytest.raises(DataError, match=r"expected train_frames uint8 \[2, 11\], found uint8 \[3, 11\]"):
        data.load_music("nottingham", tmp_path)
    with pytest.raises(ValueError, match="name must be one of jsb, nottingham"):
        data.load_music("piano", tmp_path)


@needs_data
@pytest.mark.parametrize(
    ("name", "counts", "floor"), [("jsb", [229, 76, 77], 11.06), ("nottingham", [694, 173, 170], 10.25)]
)
def test_real_music(name, counts, floor):
    music = data.load_music(name, real("polymusic"))
    assert [len(part) for part in (music.train, music.validation, music.test)] == counts
    share = np.concatenate(music.train).mean(axis=0).clip(1e-6, 1 - 1e-6)
    keys = np.concatenate(music.test)
    nats = -(keys * np.log(share) + (1 - keys) * np.log(1 - share)).sum(axis=1).mean()
    assert nats == pytest.approx(floor, abs=0.01)


# ---- series
def test_sunspots():
    series = data.load_series("sunspots")
    assert series.values.shape == (309, 1) and series.borders == (216, 247, 309)
    assert series.values[0, 0] == 5 and series.values[257, 0] == 190.2  # 1700, and the highest, of 1957
    mean, std = series.statistics()
    assert mean[0] == pytest.approx(series.values[:216].mean()) and std[0] == pytest.approx(
        series.values[:216].std()
    )
    with pytest.raises(DataError, match="comes with nonet"):
        data.load_series("sunspots", ".")


def test_tables_as_series(tmp_path):
    with pytest.raises(DataError, match="found no .csv"):
        data.load_series("ett", tmp_path)
    (tmp_path / "a.csv").write_text("date,x,y\n" + "".join(f"day {i},{i},{-i}\n" for i in range(10)))
    series = data.load_series("ett", tmp_path)
    assert series.columns == ("x", "y") and series.borders == (7, 8, 10)
    (tmp_path / "a.csv").write_text("date,x\n" + "".join(f"{1900 + i},{i}\n" for i in range(10)))
    assert data.load_series("ett", tmp_path).columns == ("x",)
    (tmp_path / "a.csv").write_text("x,y\n1,2\n3,4\n")
    with pytest.raises(DataError, match="expected a first column `date`, found 'x'"):
        data.load_series("ett", tmp_path)
    (tmp_path / "b.csv").write_text("")
    with pytest.raises(DataError, match=r"found 2 \(a.csv, b.csv\)"):
        data.load_series("ett", tmp_path)


def test_windows():
    values = np.arange(20, dtype=np.float32).reshape(10, 2)
    part = data.windows(values, 6, 10, 3, 2)
    assert part.inputs.shape == (3, 3, 2) and part.targets.shape == (3, 2, 2)
    np.testing.assert_array_equal(part.inputs[0], values[3:6])
    np.testing.assert_array_equal(part.targets[-1], values[8:10])
    assert len(data.windows(values, 0, 10, 3, 2)) == 6
    with pytest.raises(ValueError, match="windows: rows 8 to 9 of 10 have no 2 rows behind 3 others"):
        data.windows(values, 8, 9, 3, 2)


@needs_data
def test_repeating_the_last_value_of_real_series():
    """The published control: 96 hours ahead, over all test windows and over the first 2784."""
    series = data.load_series("ett", real("ett"))
    mean, std = series.statistics()
    part = data.windows(((series.values - mean) / std).astype(np.float32), *series.borders[1:], 96, 96)
    assert len(part) == 2785
    for count, mse, mae in ((2785, 1.2944, 0.7132), (2784, 1.2946, 0.7133)):
        error = (part.targets[:count] - part.inputs[:count, -1:]).astype(np.float64)
        assert np.square(error).mean() == pytest.approx(mse, abs=1e-4)
        assert np.abs(error).mean() == pytest.approx(mae, abs=1e-4)


# ---- text
def test_topics():
    corpus = data.load_corpus("topics")
    whole = len(corpus.train) + len(corpus.validation) + len(corpus.test)
    assert whole > 300_000 and len(corpus.test) == whole // 10
    codes = corpus.vocab().encode(corpus.test)
    assert corpus.vocab().decode(codes) == corpus.test


def test_folders_of_text(tmp_path):
    (tmp_path / "a.txt").write_text("ab" * 100)
    corpus = data.load_corpus("text", tmp_path)
    assert (len(corpus.train), len(corpus.validation), len(corpus.test)) == (162, 18, 20)
    (tmp_path / "a.txt").write_text("short")
    with pytest.raises(DataError, match="at least 100 characters, found 5"):
        data.load_corpus("text", tmp_path)


def test_bigrams():
    codes = np.array([0, 1] * 50)
    assert data.bigram_nats(codes, codes, 2) == pytest.approx(-np.log(51 / 52), abs=0.005)


@needs_data
def test_bigrams_of_shakespeare():
    corpus = data.load_corpus("text", real("tinyshakespeare"))
    vocab = corpus.vocab()
    assert len(vocab) == 65
    train, test = vocab.encode(corpus.train + corpus.validation), vocab.encode(corpus.test)
    assert data.bigram_nats(train, test, 65) == pytest.approx(2.48, abs=0.005)


def test_words():
    text = "A man's dog (brown), age 3, well-known: isn't it?"
    tokens = data.words(text)
    assert tokens == [
        *[
            "A",
            "man",
            "'s",
            "dog",
            "(",
            "brown",
            ")",
            ",",
            "age",
            "3",
            ",",
            "well-known",
            ":",
            "isn",
            "'t",
            "it",
            "?",
        ]
    ]
    assert data.sentence(tokens) == text
    vocab = data.WordVocab.from_texts([["b", "a", "b"], ["c", "a", "b"]], least=2)
    assert vocab.tokens[4:] == ("b", "a")
    codes = vocab.encode(["a", "c", "b"], ends=True)
    assert codes.tolist() == [2, 5, 1, 4, 3] and codes.dtype == np.int64
    assert vocab.decode([*codes, 4, 4]) == ["a", "<unk>", "b"]
    assert len(data.WordVocab.from_texts([["x", "y", "z"]], largest=2)) == 6
    assert data.WordVocab.from_texts([["a", "m"]], extra=["m"]).tokens[4:] == ("m", "a")
    with pytest.raises(ValueError, match="must begin with"):
        data.WordVocab(["a"])


# ---- pairs
def test_numbers():
    assert data.number_words(0) == "zero" and data.number_words(19) == "nineteen"
    assert data.number_words(840) == "eight hundred and forty"
    assert data.number_words(101042) == "one hundred and one thousand forty two"
    pairs = data.load_pairs("numbers")
    parts = [pairs.train, pairs.validation, pairs.test]
    assert len({row for part in parts for row in part}) == sum(map(len, parts)) > 18000
    assert all(data.number_words(int(source)) == target for source, target in pairs.test)
    with pytest.raises(ValueError, match=r"number must be in \[0, 999999\]"):
        data.number_words(10**6)


def test_files_of_pairs(tmp_path):
    with pytest.raises(DataError, match="expected train.tsv and test.tsv"):
        data.load_pairs("tsv", tmp_path)
    (tmp_path / "all.tsv").write_text("".join(f"s{i}\tt{i}\n" for i in range(40)))
    pairs = data.load_pairs("tsv", tmp_path)
    assert [len(part) for part in (pairs.train, pairs.validation, pairs.test)] == [32, 4, 4]
    assert len(set(pairs.train + pairs.validation + pairs.test)) == 40
    (tmp_path / "all.tsv").rename(tmp_path / "train.tsv")
    (tmp_path / "test.tsv").write_text("a\tb\n")
    pairs = data.load_pairs("tsv", tmp_path)
    assert [len(part) for part in (pairs.train, pairs.validation, pairs.test)] == [36, 4, 1]
    (tmp_path / "val.tsv").write_text("c\td\n")
    assert data.load_pairs("tsv", tmp_path).validation == (("c", "d"),)
    for part, lines in (("train", "eins\nzwei\n"), ("val", "drei\n"), ("test_2016_flickr", "vier\n")):
        for language in ("de", "en"):
            with gzip.open(tmp_path / f"{part}.{language}.gz", "wt") as file:
                file.write(lines)
    assert data.load_pairs("multi30k", tmp_path).train == (("eins", "eins"), ("zwei", "zwei"))
    with gzip.open(tmp_path / "val.en.gz", "wt") as file:
        file.write("a\nb\n")
    with pytest.raises(DataError, match="as many lines of de as of en, found 1 and 2"):
        data.load_pairs("multi30k", tmp_path)


# ---- sound
@pytest.mark.parametrize(("width", "error"), [(1, 2.0**-7), (2, 2.0**-15), (4, 2.0**-23)])
def test_wave_files(tmp_path, width, error):
    t = np.arange(400)
    wanted = 0.8 * np.sin(t / 7)
    scaled = np.rint(wanted * 2 ** (8 * width - 1)).astype(np.int64)
    raw = (scaled + 128).astype(np.uint8) if width == 1 else scaled.astype(f"<i{width}")
    write_wave(tmp_path / "a.wav", raw, width)
    values, rate = io.read_audio(tmp_path / "a.wav")
    assert rate == 8000 and values.dtype == np.float32 and values.shape == (400,)
    np.testing.assert_allclose(values, wanted, atol=error)


def test_more_wave_files(tmp_path):
    stereo = np.array([[256, 768], [-256, 256]], "<i2")
    write_wave(tmp_path / "b.wav", stereo)
    np.testing.assert_allclose(io.read_audio(tmp_path / "b.wav")[0], np.array([512, 0]) / 2.0**15)
    deep = np.array([[0, 0, 64], [0, 0, 192]], np.uint8)  # 24 bits: a half, and minus a half
    with wave.open(str(tmp_path / "c.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(3)
        file.setframerate(8000)
        file.writeframes(deep.tobytes())
    np.testing.assert_array_equal(io.read_audio(tmp_path / "c.wav")[0], [0.5, -0.5])
    whole = (tmp_path / "b.wav").read_bytes()
    (tmp_path / "b.wav").write_bytes(whole[:-2])
    with pytest.raises(io.FileError, match="expected a complete wav file"):
        io.read_audio(tmp_path / "b.wav")
    with pytest.raises(io.FileError, match="expected a sound file, found none"):
        io.read_audio(tmp_path / "none.wav")


def test_spectrograms():
    rate = 8000
    tone = np.sin(2 * np.pi * 1000 * np.arange(rate) / rate).astype(np.float32)
    mel = data.log_mel(tone, rate)
    assert mel.shape == (98, 40) and mel.dtype == np.float32
    filters = data.mel_filters(rate, 256, 40)
    assert np.argmax(mel[50]) in np.flatnonzero(filters[32])  # 1000 Hz is frequency 32 of 256 at this rate
    # A frame by the sums that define it.
    frame = tone[800:1000] * np.hanning(200)
    k = np.arange(129)[:, None]
    spectrum = (frame * np.exp(-2j * np.pi * k * np.arange(200) / 256)).sum(axis=1)
    np.testing.assert_allclose(mel[10], np.log(np.abs(spectrum) ** 2 @ filters + 1e-6), rtol=1e-4, atol=1e-4)
    assert data.log_mel(tone[:10], rate).shape == (1, 40)
    with pytest.raises(ValueError, match="200 bands are too many"):
        data.log_mel(tone, rate, 200)


def test_recordings(tmp_path):
    with pytest.raises(DataError, match="found no such file"):
        data.load_fsdd(tmp_path)
    for speaker in ("ann", "bob"):
        for digit in (0, 7):
            for index in (0, 4, 5, 11):
                values = np.full(100 + digit, 100 * index, np.int16)
                write_wave(tmp_path / "recordings" / f"{digit}_{speaker}_{index}.wav", values)
    found = data.load_fsdd(tmp_path)
    assert len(found.train) == len(found.test) == 8 and found.rate == 8000
    assert {(r.digit, r.speaker) for r in found.test} == {(d, s) for d in (0, 7) for s in ("ann", "bob")}
    assert len(data.load_fsdd(tmp_path / "recordings").train) == 8
    strings = data.DigitStrings(found.train, 20, 3)
    signal, digits = strings[4]
    assert 3 <= len(digits) <= 7 and len(signal) == sum(100 + d for d in digits)
    np.testing.assert_array_equal(data.DigitStrings(found.train, 20, 3)[4][0], signal)
    write_wave(tmp_path / "recordings" / "0_ann_6.wav", np.zeros(9, np.int16), rate=4000)
    with pytest.raises(DataError, match="expected 8000 samples per second as before, found 4000"):
        data.load_fsdd(tmp_path)


@needs_data
def test_real_recordings():
    found = data.load_fsdd(real("fsdd"))
    assert (len(found.train), len(found.test), found.rate) == (2700, 300, 8000)


# ---- loaders
def items(lengths):
    return [(np.full((n, 2), i, np.float32), n) for i, n in enumerate(lengths)]


def test_buckets():
    lengths = np.random.default_rng(0).integers(1, 100, 103)
    loader = BucketLoader(items(lengths), lengths, 8, shuffle=True, seed=4, pool=3)
    seen, waste = [], 0
    for frames, sizes in loader:
        assert frames.shape == (len(sizes), sizes.max(), 2)
        for row, size in zip(frames, sizes, strict=True):
            assert (row[:size] == row[0]).all() and (row[size:] == 0).all()
            seen.append(int(row[0, 0]))
        waste += frames.shape[0] * frames.shape[1] - sizes.sum()
    assert sorted(seen) == list(range(103)) and waste < lengths.sum() / 2
    first = seen
    seen = [int(row[0, 0]) for frames, _ in loader for row in frames]
    assert sorted(seen) == list(range(103)) and seen != first
    flat = BucketLoader(items(lengths), lengths, 8)
    sizes = np.concatenate([sizes for _, sizes in flat])
    assert (np.diff(sizes) >= 0).all()
    with pytest.raises(ValueError, match=r"lengths must have shape \[103\], got \[2\]"):
        BucketLoader(items(lengths), lengths[:2])


@pytest.mark.parametrize("kind", ["buckets", "streams"])
def test_positions_of_sequences(kind):
    def make(batch=4):
        if kind == "streams":
            return StreamLoader(np.arange(400), batch, 7, shuffle=True, seed=1)
        lengths = np.arange(50) % 9 + 1
        return BucketLoader(items(lengths), lengths, batch, shuffle=True, seed=1, pool=2)

    whole = make()
    batches = [batch for _ in range(2) for batch in whole]
    other = make()
    for count, _ in enumerate(other, 1):
        if count == 3:
            break
    state = other.state_dict()
    resumed = make()
    resumed.load_state_dict(state)
    rest = [*resumed, *resumed]
    assert len(rest) == len(batches) - 3
    for one, two in zip(rest, batches[3:], strict=True):
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(DataError, match="was saved with"):
        make(5).load_state_dict(state)


def test_streams():
    codes = np.arange(1000)
    loader = StreamLoader(codes, 3, 10)
    before = None
    for i, (inputs, new, targets) in enumerate(loader):
        np.testing.assert_array_equal(targets, inputs + 1)
        assert (new == (i == 0)).all()
        if before is not None:
            np.testing.assert_array_equal(inputs[:, 0], before[:, -1])
        before = targets
    assert len(loader) == 33
    shifted = StreamLoader(codes, 3, 10, shuffle=True)
    assert len({int(inputs[0, 0]) for _ in range(8) for inputs, new, _ in shifted if new[0]}) > 3
    with pytest.raises(ValueError, match="12 codes are too few for 2 streams of 10 steps"):
        StreamLoader(codes[:12], 2, 10)
