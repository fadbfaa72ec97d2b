using System.Globalization;
using System.Text;

namespace Qcow2Bitmaps.Format;

/// <summary>Makes text from inside an image fit to be shown: on a terminal it could otherwise move the cursor or fake lines.</summary>
internal static class PrintableText
{
    /// <summary>Replaces characters that control a terminal, or that are invisible, by escapes: <c>\n</c>, <c>\x1b</c>,
    /// <c>\u202e</c>.</summary>
    /// <param name="text">A text, perhaps made by <see cref="ImageText.Decode"/>.</param>
    /// <returns>The text without control, format and separator characters; bytes that were not UTF-8 show as
    /// <c>\xNN</c>. A backslash stays as it is.</returns>
    public static string Escape(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        StringBuilder? escaped = null;
        for (int i = 0; i < text.Length;)
        {
            bool isRune = Rune.TryGetRuneAt(text, i, out Rune rune);
            int length = isRune ? rune.Utf16SequenceLength : 1;
            string? escape = isRune ? EscapeOf(rune) : EscapeOfLone(text, i);
            if (escape is not null)
            {
                escaped ??= new StringBuilder(text.Length + 16).Append(text, 0, i);
                escaped.Append(escape);
            }
            else
            {
                escaped?.Append(text, i, length);
            }

            i += length;
        }

        return escaped?.ToString() ?? text;
    }

    private static string? EscapeOf(Rune rune) => rune.Value switch
    {
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        _ => Rune.GetUnicodeCategory(rune) switch
        {
            UnicodeCategory.Control => string.Create(CultureInfo.InvariantCulture, $"\\x{rune.Value:x2}"),
            UnicodeCategory.Format or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator =>
                string.Create(CultureInfo.InvariantCulture, $"\\u{rune.Value:x4}"),
            _ => null,
        },
    };

    private static string EscapeOfLone(string text, int index) => ImageText.IsInvalidByte(text, index)
        ? string.Create(CultureInfo.InvariantCulture, $"\\x{text[index] & 0xff:x2}")
        : string.Create(CultureInfo.InvariantCulture, $"\\u{(int)text[index]:x4}");
}
