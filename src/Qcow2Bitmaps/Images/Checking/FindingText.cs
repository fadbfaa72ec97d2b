using System.Runtime.CompilerServices;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Checking;

/// <summary>A finding's message, which is only made while findings are kept: an image may have billions of faults.</summary>
[InterpolatedStringHandler]
internal ref struct FindingText
{
    private PrintableMessage _text;

    public FindingText(int literalLength, int formattedCount, FindingLog log, out bool isKept)
    {
        isKept = !log.IsFull;
        _text = isKept ? new PrintableMessage(literalLength, formattedCount) : default;
    }

    public void AppendLiteral(string value) => _text.AppendLiteral(value);

    public void AppendFormatted<T>(T value, string? format = null) => _text.AppendFormatted(value, format: format);

    public override string ToString() => _text.ToString();
}
