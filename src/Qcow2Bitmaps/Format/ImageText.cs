using System.Buffers;
using System.Text;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps;

/// <summary>Names inside an image are bytes, meant as UTF-8. This turns them into strings and back without losing any.</summary>
/// <remarks>
/// A byte that is not part of valid UTF-8 becomes the lone low surrogate U+DC00 + byte, which no valid UTF-8 yields. So two different names
/// never become the same string, and a name that was read can be written back. Thread-safe.
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
    internal static string DecodeUpToNul(ReadOnlySpan<byte> bytes)
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

    /// <summary>Escapes text for display: characters that control a terminal, or that are invisible, become escapes.</summary>
    /// <param name="text">Any text, including text from <see cref="Decode"/>.</param>
    /// <returns>The text with escapes such as <c>\n</c>, <c>\x1b</c>, <c>\u202e</c> in place of control, format and separator characters;
    /// bytes that were not UTF-8 show as <c>\xNN</c>. A backslash stays as it is.</returns>
    public static string Escape(string text) => PrintableText.Escape(text);

    /// <summary>Whether the text holds bytes that were not UTF-8.</summary>
    /// <param name="text">A text that <see cref="Decode"/> made.</param>
    internal static bool HasInvalidBytes(string text)
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
    internal static bool IsInvalidByte(string text, int index)
    {
        ArgumentNullException.ThrowIfNull(text);
        return text[index] is >= '\uDC80' and <= '\uDCFF' && (index == 0 || !char.IsHighSurrogate(text[index - 1]));
    }
}
