using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;

namespace Qcow2Bitmaps.Format;

/// <summary>A message for people. What an interpolated string inserts is escaped (<see cref="PrintableText"/>); its literal parts are kept.</summary>
/// <remarks>
/// The compiler builds one wherever <c>$"…"</c> is passed for a parameter of this type. Numbers are formatted invariantly. An exception stands for its
/// message, whose line breaks are kept, and another message is inserted as it is. Escaping leaves printable text unchanged, so nothing is escaped twice.
/// </remarks>
[InterpolatedStringHandler]
internal sealed class PrintableMessage(int literalLength, int formattedCount)
{
    private const int ExpectedHoleLength = 16;

    private readonly StringBuilder _text = new(literalLength + (formattedCount * ExpectedHoleLength));

    /// <summary>A text that is not known to be printable. It becomes one line.</summary>
    public static implicit operator PrintableMessage(string text)
    {
        PrintableMessage message = new(text.Length, 0);
        message.AppendFormatted(text);
        return message;
    }

    public static implicit operator string(PrintableMessage message) => message.ToString();

    /// <summary>The text of a message, for where a string is wanted.</summary>
    public static string Of(PrintableMessage message) => message.ToString();

    /// <summary>A text that is composed already, or an exception's message: its line breaks are kept.</summary>
    public static PrintableMessage OfLines(string text)
    {
        PrintableMessage message = new(text.Length, 0);
        message._text.AppendJoin('\n', text.Split('\n').Select(PrintableText.Escape));
        return message;
    }

    public void AppendLiteral(string value) => _text.Append(value);

    public void AppendFormatted(PrintableMessage? value) => _text.Append(value?._text);

    public void AppendFormatted<T>(T value, int alignment = 0, string? format = null)
    {
        string text = value switch
        {
            Exception e => OfLines(e.Message).ToString(),
            IFormattable number => PrintableText.Escape(number.ToString(format, CultureInfo.InvariantCulture)),
            _ => PrintableText.Escape(value?.ToString() ?? ""),
        };
        _text.Append(alignment < 0 ? text.PadRight(-alignment) : text.PadLeft(alignment));
    }

    public override string ToString() => _text.ToString();
}
