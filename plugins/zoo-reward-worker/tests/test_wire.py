"""Messages come back as they went, and bytes that are no message are refused."""

import json
import pickle
import struct

import numpy as np
import pytest

from zoo_reward_worker.wire import Message, WireError, decode, encode

IMAGES = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
MESSAGE = Message({"kind": "score", "text": "a “b” ✓"}, {"images": IMAGES, "x": np.zeros((0, 2))})


def message(header, body=b""):
    text = json.dumps(header).encode()
    return b"ZOOR" + struct.pack("<I", len(text)) + text + body


def test_a_message_comes_back_as_it_went():
    back = decode(encode(MESSAGE))
    assert back.header == MESSAGE.header
    assert back.arrays.keys() == MESSAGE.arrays.keys()
    for name, array in MESSAGE.arrays.items():
        assert back.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(back.arrays[name], array)
        assert not back.arrays[name].flags.writeable


def test_nan_and_arrays_that_are_not_contiguous_come_back():
    value = np.array([[1.0, np.nan], [np.inf, 2.0]], np.float32).T
    np.testing.assert_array_equal(decode(encode(Message({}, {"v": value}))).arrays["v"], value)


@pytest.mark.parametrize("dtype", ["int64", "object", "complex64", "<U3"])
def test_other_dtypes_are_not_sent(dtype):
    with pytest.raises(
        WireError, match=r"the array 'a' is of .*; allowed: uint8, float32, float64"
    ):
        encode(Message({}, {"a": np.zeros(2).astype(dtype)}))


def test_what_json_cannot_hold_is_not_sent():
    with pytest.raises(WireError, match="a message holds what JSON cannot"):
        encode(Message({"kind": object()}))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"ZOOR",
        b"PK\x03\x04" + bytes(20),
        pickle.dumps({"kind": "score"}),
        b"ZOOR" + struct.pack("<I", 1000) + b"{}",
        b"ZOOR" + struct.pack("<I", 3) + b"{]}",
        message([1, 2]),
        message({"kind": "score"}),
        message({"arrays": 3}),
        b"ZOOR" + struct.pack("<I", 200_000) + b"[" * 200_000,
        message({"arrays": [["a", "object", [1]]]}, bytes(8)),
        message({"arrays": [["a", "uint8", [-1]]]}),
        message({"arrays": [["a", "uint8", [1.5]]]}, bytes(2)),
        message({"arrays": [["a", "uint8", [True]]]}, bytes(1)),
        message({"arrays": [["a", "uint8", [2**40, 2**40]]]}, bytes(8)),
        message({"arrays": [["a", "uint8", [4]]]}, bytes(3)),
        message({"arrays": [["a", "uint8", [4]]]}, bytes(5)),
        message({"arrays": [["a", ["uint8"], [4]]]}, bytes(4)),
    ],
)
def test_bytes_that_are_no_message_are_refused(data):
    with pytest.raises(WireError):
        decode(data)


def test_every_cut_of_a_message_is_refused():
    whole = encode(MESSAGE)
    for end in range(len(whole)):
        with pytest.raises(WireError):
            decode(whole[:end])
