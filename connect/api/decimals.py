"""Connect's encoding of `Decimal` values: the unscaled integer, big-endian two's complement, as few bytes
as hold it (Java's `BigInteger.toByteArray`). The scale stands in the schema's parameters."""

from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from typing import Final

from connect.api.errors import DataError
from connect.api.schemas import Schema

# Exact at any length; the default context would round to 28 digits.
_EXACT: Final = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)


def scale_of(schema: Schema) -> int:
    """The scale of a Decimal schema."""
    try:
        return int(schema.parameters["scale"])
    except KeyError:
        raise DataError("Invalid Decimal schema: scale parameter not found.") from None
    except ValueError:
        scale = schema.parameters["scale"]
        raise DataError(f"Invalid scale parameter found in Decimal schema: {scale}") from None


def decimal_to_bytes(value: Decimal, scale: int) -> bytes:
    """The bytes of `value`, which may have fewer digits behind the point than `scale`, but not more."""
    unscaled = int(rescale(value, scale).scaleb(scale, _EXACT))
    bits = (unscaled if unscaled >= 0 else ~unscaled).bit_length()
    return unscaled.to_bytes(bits // 8 + 1, "big", signed=True)


def decimal_from_bytes(data: bytes, scale: int) -> Decimal:
    """The number that the bytes stand for."""
    if not data:
        raise DataError("A Decimal needs at least one byte, got none")
    return Decimal(int.from_bytes(data, "big", signed=True)).scaleb(-scale, _EXACT)


def rescale(value: Decimal, scale: int) -> Decimal:
    """The same number with exactly `scale` digits behind the point; `DataError` where that loses digits."""
    exponent = value.as_tuple().exponent
    if exponent == -scale:
        return value
    if not isinstance(exponent, int):
        raise DataError(f"{value} is no number that Connect's Decimal can hold")
    rescaled = value.quantize(Decimal((0, (1,), -scale)), context=_EXACT)
    if rescaled != value:
        raise DataError(
            f"Decimal value has mismatching scale for given Decimal schema. Schema has scale {scale}, "
            f"value has scale {-exponent}."
        )
    return rescaled
