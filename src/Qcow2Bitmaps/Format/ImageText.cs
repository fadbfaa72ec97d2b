using System.Buffers;
using System.Text;

namespace Qcow2Bitmaps.Format;

/// <summary>Names inside an image are bytes, meant as UTF-8. This turns them into strings and back without losing any.</summary>
/// <remarks>
/// A byte that is not part of valid UTF-8 becomes the lone low surrogate U+DC00 + byte, which no valid UTF-8 yields, so that
/// two different names never become one string, and a name read can be written again. Thread-safe.
/// </remarks>
public static class ImageText
{
    private const char EscapeBase = '\uDC00';

    /// <summary>Decodes a name.</summary>
    /// <param name="bytes">The bytes as they stand in the image.</param>
    /// <returns>The text; lone surrogates U+DC80..U+DCFF stand for bytes that are not UTF-8.</returns>
    public static string Decode(ReadOnlySpan<byte> bytes)
    {
        var text = new StringBuilder(bytes.Length);
        Span<char> pair = stackalloc char[2];
        while (!bytes.IsEmpty)
        {
            if (Rune.DecodeFromUtf8(bytes, out Rune rune, out int consumed) == OperationStatus.Done)
            {
                text.Append(pair[..rune.EncodeToUtf16(pair)]);
            }
            else
            {
                consumed = 1;
                text.Append((char)(EscapeBase + bytes[0]));
            }

            bytes = bytes[consumed..];
        }

        return text.ToString();
    }

    /// <summary>Decodes a name as QEMU shows it: a NUL ends it.</summary>
    /// <param name="bytes">The bytes as they stand in the image.</param>
    /// <returns>The text up to the first NUL.</returns>
    public static string DecodeUpToNul(ReadOnlySpan<byte> bytes)
    {
        int end = bytes.IndexOf((byte)0);
        return Decode(end < 0 ? bytes : bytes[..end]);
    }

    /// <summary>Encodes a name: the inverse of <see cref="Decode"/>.</summary>
    /// <param name="text">The text; lone surrogates other than those that <see cref="Decode"/> makes become U+FFFD.</param>
    /// <returns>The bytes as they stand in an image.</returns>
    public static byte[] Encode(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var bytes = new ArrayBufferWriter<byte>(text.Length + 16);
        Span<byte> utf8 = stackalloc byte[4];
        for (int i = 0; i < text.Length;)
        {
            if (IsInvalidByte(text, i))
            {
                bytes.Write([(byte)(text[i] - EscapeBase)]);
                i++;
                continue;
            }

            OperationStatus status = Rune.DecodeFromUtf16(text.AsSpan(i), out Rune rune, out int consumed);
            bytes.Write(utf8[..(status == OperationStatus.Done ? rune : Rune.ReplacementChar).EncodeToUtf8(utf8)]);
            i += Math.Max(consumed, 1);
        }

        return bytes.WrittenSpan.ToArray();
    }

    /// <summary>Whether the text holds bytes that were not UTF-8.</summary>
    /// <param name="text">A text that <see cref="Decode"/> made.</param>
    public static bool HasInvalidBytes(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        for (int i = 0; i < text.Length; i++)
        {
            if (IsInvalidByte(text, i))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Whether the character at an index stands for a byte that was not UTF-8.</summary>
    /// <param name="text">A text that <see cref="Decode"/> made.</param>
    /// <param name="index">The index of a character in it.</param>
    public static bool IsInvalidByte(string text, int index)
    {
        ArgumentNullException.ThrowIfNull(text);
        return text[index] is >= '\uDC80' and <= '\uDCFF' && (index == 0 || !char.IsHighSurrogate(text[index - 1]));
    }
}
