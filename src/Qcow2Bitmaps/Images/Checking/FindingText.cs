using System.Globalization;
using System.Runtime.CompilerServices;

namespace Qcow2Bitmaps.Images.Checking;

/// <summary>A finding's message, which is only made while findings are kept: an image may have billions of faults.</summary>
[InterpolatedStringHandler]
internal ref struct FindingText
{
    private DefaultInterpolatedStringHandler _text;

    public FindingText(int literalLength, int formattedCount, FindingLog log, out bool isKept)
    {
        isKept = !log.IsFull;
        _text = isKept ? new DefaultInterpolatedStringHandler(literalLength, formattedCount, CultureInfo.InvariantCulture) : default;
    }

    public void AppendLiteral(string value) => _text.AppendLiteral(value);

    public void AppendFormatted<T>(T value, string? format = null) => _text.AppendFormatted(value, format);

    public override string ToString() => _text.ToStringAndClear();
}
