using System.Globalization;

namespace Qcow2Bitmaps.Cli.Options;

/// <summary>Sizes on the command line by qemu-img's rules: <c>10G</c>, <c>1.5M</c>, <c>0x200</c>.</summary>
internal static class ByteCount
{
    private const string Suffixes = "BKMGTPE";

    /// <summary>Parses a size.</summary>
    /// <param name="text">A decimal number, which a fraction may follow if a unit does, or a hexadecimal one; then perhaps a unit: b, k, M,
    /// G, T, P, E. It is rounded to whole bytes.</param>
    /// <param name="bytes">The size in bytes.</param>
    public static NumberSyntax Parse(string text, out ulong bytes)
    {
        bytes = 0;
        string rest = text.TrimStart(' ', '\t', '\n', '\v', '\f', '\r');
        rest = rest.StartsWith('+') ? rest[1..] : rest;
        bool isHex = rest.StartsWith("0x", StringComparison.OrdinalIgnoreCase);
        ReadOnlySpan<char> digits = TakeDigits(isHex ? rest.AsSpan(2) : rest, isHex);
        if (digits.IsEmpty)
        {
            return NumberSyntax.Invalid;
        }

        ReadOnlySpan<char> tail = rest.AsSpan((isHex ? 2 : 0) + digits.Length);
        double fraction = 0;
        if (!isHex && tail is ['.', ..])
        {
            ReadOnlySpan<char> decimals = TakeDigits(tail[1..], isHex: false);
            fraction = decimals.IsEmpty ? 0 : double.Parse($"0.{decimals}", CultureInfo.InvariantCulture);
            tail = tail[(1 + decimals.Length)..];
        }

        int unit = tail.Length == 1 ? Suffixes.IndexOf(char.ToUpperInvariant(tail[0]), StringComparison.Ordinal) : tail.IsEmpty ? 0 : -1;
        if (unit < 0 || (unit == 0 && fraction != 0))
        {
            return NumberSyntax.Invalid;
        }

        int shift = 10 * unit;
        // In floating point, as QEMU does: the fraction may round to one.
        UInt128 size = ParseDigits(digits, isHex) is { } whole
            ? (whole << shift) + (UInt128)((fraction * Math.ScaleB(1, shift)) + 0.5)
            : UInt128.MaxValue;
        if (size > ulong.MaxValue)
        {
            return NumberSyntax.OutOfRange;
        }

        bytes = (ulong)size;
        return NumberSyntax.Valid;
    }

    /// <summary>Parses a number as C does: decimal, hexadecimal with 0x, octal with a leading 0; negative ones wrap around.</summary>
    public static NumberSyntax ParseNumber(string text, out ulong number)
    {
        number = 0;
        string rest = text.TrimStart(' ', '\t', '\n', '\v', '\f', '\r');
        bool isNegative = rest.StartsWith('-');
        rest = isNegative || rest.StartsWith('+') ? rest[1..] : rest;
        int numberBase = rest.StartsWith("0x", StringComparison.OrdinalIgnoreCase) ? 16 : rest.StartsWith('0') ? 8 : 10;
        ReadOnlySpan<char> digits = numberBase == 16 ? rest.AsSpan(2) : rest;
        if (digits.IsEmpty)
        {
            return NumberSyntax.Invalid;
        }

        UInt128 value = 0;
        foreach (char c in digits)
        {
            int digit = char.IsAsciiHexDigit(c) ? Convert.ToInt32(c.ToString(), 16) : 16;
            if (digit >= numberBase)
            {
                return NumberSyntax.Invalid;
            }

            value = UInt128.Min((value * (uint)numberBase) + (uint)digit, (UInt128)ulong.MaxValue + 1);
        }

        if (value > ulong.MaxValue)
        {
            return NumberSyntax.OutOfRange;
        }

        number = isNegative ? unchecked(0 - (ulong)value) : (ulong)value;
        return NumberSyntax.Valid;
    }

    private static ReadOnlySpan<char> TakeDigits(ReadOnlySpan<char> text, bool isHex)
    {
        int end = 0;
        while (end < text.Length && (isHex ? char.IsAsciiHexDigit(text[end]) : char.IsAsciiDigit(text[end])))
        {
            end++;
        }

        return text[..end];
    }

    private static UInt128? ParseDigits(ReadOnlySpan<char> digits, bool isHex) =>
        ulong.TryParse(digits, isHex ? NumberStyles.AllowHexSpecifier : NumberStyles.None, CultureInfo.InvariantCulture, out ulong value)
            ? value
            : null;
}
