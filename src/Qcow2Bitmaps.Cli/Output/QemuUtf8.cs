using System.Numerics;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>
/// Decodes UTF-8 as QEMU does for its JSON: each error becomes one replacement character, so what counts as one error matters.
/// </summary>
internal static class QemuUtf8
{
    private const int Replacement = 0xFFFD;

    // The smallest code point that needs a sequence of 2, 3, 4, 5 and 6 bytes.
    private static ReadOnlySpan<int> Smallest => [0x80, 0x800, 0x10000, 0x200000, 0x4000000];

    /// <summary>Decodes the first code point.</summary>
    /// <param name="bytes">At least one byte.</param>
    /// <param name="consumed">
    /// The number of bytes consumed. One error is: an impossible byte; a lone continuation byte; a truncated sequence with the continuation
    /// bytes that it has; or a complete invalid sequence, even of 5 or 6 bytes.
    /// </param>
    /// <returns>The code point; U+FFFD for an error, and for a surrogate or a code point that is no character.</returns>
    public static int Decode(ReadOnlySpan<byte> bytes, out int consumed)
    {
        int first = bytes[0];
        int length = BitOperations.LeadingZeroCount(~((uint)first << 24));
        consumed = 1;
        if (length == 0)
        {
            return first;
        }

        if (length is 1 or > 6)
        {
            return Replacement;
        }

        int codePoint = first & (0x7F >> length);
        for (; consumed < length; consumed++)
        {
            if (consumed == bytes.Length || (bytes[consumed] & 0xC0) != 0x80)
            {
                return Replacement;
            }

            codePoint = (codePoint << 6) | (bytes[consumed] & 0x3F);
        }

        // NUL as two bytes is the one overlong form that is taken.
        bool isTooLong = codePoint < Smallest[length - 2] && !(codePoint == 0 && length == 2);
        bool isNoCharacter = codePoint is > 0x10FFFF or (>= 0xD800 and <= 0xDFFF) or (>= 0xFDD0 and <= 0xFDEF)
            || (codePoint & 0xFFFE) == 0xFFFE;
        return isTooLong || isNoCharacter ? Replacement : codePoint;
    }
}
