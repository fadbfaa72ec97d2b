using System.Globalization;
using System.Text;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Writes JSON in qemu-img's layout: four spaces, empty arrays over two lines, nothing but ASCII.</summary>
internal sealed class QemuJsonWriter(ToolWriter output)
{
    private int _depth;
    private bool _isFirst = true;

    public void StartObject(string? name = null) => Start(name, "{");

    public void EndObject() => End("}");

    public void StartArray(string? name = null) => Start(name, "[");

    public void EndArray() => End("]");

    public void String(string? name, string value) => Value(name, Quote(value));

    public void Number(string? name, long value) => Value(name, value.ToString(CultureInfo.InvariantCulture));

    public void Number(string? name, ulong value) => Value(name, value.ToString(CultureInfo.InvariantCulture));

    public void Boolean(string? name, bool value) => Value(name, value ? "true" : "false");

    /// <summary>Ends the document.</summary>
    public void Complete() => output.Write("\n");

    private void Start(string? name, string bracket)
    {
        Value(name, bracket);
        _depth++;
        _isFirst = true;
    }

    private void End(string bracket)
    {
        _depth--;
        NewLine();
        output.Write(bracket);
        _isFirst = false;
    }

    private void Value(string? name, string text)
    {
        if (!_isFirst)
        {
            output.Write(",");
        }

        if (_depth > 0)
        {
            NewLine();
        }

        if (name is not null)
        {
            output.Write($"\"{name}\": ");
        }

        output.Write(text);
        _isFirst = false;
    }

    private void NewLine()
    {
        output.Write("\n");
        output.Write(new string(' ', 4 * _depth));
    }

    private static string Quote(string value)
    {
        var text = new StringBuilder(value.Length + 2).Append('"');
        for (ReadOnlySpan<byte> bytes = ImageText.Encode(value); !bytes.IsEmpty;)
        {
            int codePoint = QemuUtf8.Decode(bytes, out int consumed);
            bytes = bytes[consumed..];
            _ = codePoint switch
            {
                '"' => text.Append("\\\""),
                '\\' => text.Append("\\\\"),
                '\b' => text.Append("\\b"),
                '\f' => text.Append("\\f"),
                '\n' => text.Append("\\n"),
                '\r' => text.Append("\\r"),
                '\t' => text.Append("\\t"),
                >= ' ' and < '\x7f' => text.Append((char)codePoint),
                > char.MaxValue => text.Append(
                    CultureInfo.InvariantCulture, $"\\u{0xD800 + ((codePoint - 0x10000) >> 10):X4}\\u{0xDC00 + (codePoint & 0x3FF):X4}"),
                _ => text.Append(CultureInfo.InvariantCulture, $"\\u{codePoint:X4}"),
            };
        }

        return text.Append('"').ToString();
    }
}
