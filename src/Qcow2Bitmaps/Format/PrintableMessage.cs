using System.Globalization;
using System.Runtime.CompilerServices;

namespace Qcow2Bitmaps.Format;

/// <summary>A message for people: inserted values are escaped (<see cref="ImageText.Escape"/>), the literal parts are kept.</summary>
/// <remarks>
/// The compiler builds one wherever <c>$"…"</c> is passed for a parameter of this type. Numbers are formatted invariantly. An inserted
/// exception contributes its message, with its line breaks; an inserted message is kept as it is. Escaping leaves printable text unchanged,
/// so nothing is escaped twice. The text can be taken only once.
/// </remarks>
[InterpolatedStringHandler]
internal ref struct PrintableMessage(int literalLength, int formattedCount)
{
    private DefaultInterpolatedStringHandler _text = new(literalLength, formattedCount, CultureInfo.InvariantCulture);

    /// <summary>A text that is not known to be printable. It becomes one line.</summary>
    public static implicit operator PrintableMessage(string text) => Literal(ImageText.Escape(text));

    public static implicit operator string(PrintableMessage message) => message.ToString();

    /// <summary>The text of a message, for where a string is wanted.</summary>
    public static string Of(PrintableMessage message) => message.ToString();

    /// <summary>A text that is composed already, or an exception's message: its line breaks are kept.</summary>
    public static PrintableMessage OfLines(string text) => Literal(string.Join('\n', text.Split('\n').Select(ImageText.Escape)));

    public void AppendLiteral(string value) => _text.AppendLiteral(value);

    public void AppendFormatted(scoped PrintableMessage value) => _text.AppendLiteral(value.ToString());

    public void AppendFormatted<T>(T value, int alignment = 0, string? format = null)
    {
        if (typeof(T).IsPrimitive && typeof(T) != typeof(char))
        {
            _text.AppendFormatted(value, alignment, format);
            return;
        }

        string text = value switch
        {
            Exception e => OfLines(e.Message).ToString(),
            IFormattable other => ImageText.Escape(other.ToString(format, CultureInfo.InvariantCulture)),
            _ => ImageText.Escape(value?.ToString() ?? ""),
        };
        _text.AppendFormatted(text, alignment);
    }

    public override string ToString() => _text.ToStringAndClear();

    private static PrintableMessage Literal(string text)
    {
        PrintableMessage message = new(text.Length, 0);
        message.AppendLiteral(text);
        return message;
    }
}
