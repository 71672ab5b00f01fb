"""Messages of grpc.testing in protocol buffers, as far as the interoperability cases need them: numbered fields, no generated code."""

INITIAL = "x-grpc-test-echo-initial"
TRAILING = "x-grpc-test-echo-trailing-bin"


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def encode(**fields):
    """encode(_2=314159, _3=b"...") writes field 2 as a number and field 3 as bytes; a list repeats its field."""
    out = b""
    for name, value in fields.items():
        number = int(name[1:])
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int):
                out += varint(number << 3) + varint(one)
            else:
                contents = one.encode() if isinstance(one, str) else one
                out += varint(number << 3 | 2) + varint(len(contents)) + contents
    return out


def decode(message):
    """Lists of what each field holds, by its number."""
    fields, at = {}, 0

    def read():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        tag = read()
        value = read()
        if tag & 7 == 2:
            at += value
            value = message[at - value : at]
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def first(fields, number, otherwise):
    return fields.get(number, [otherwise])[0]


def payload(size):
    return encode(_2=bytes(size))


def body_of(message):
    """The payload is field 1 of every answer."""
    return first(decode(first(decode(message), 1, b"")), 2, b"")
