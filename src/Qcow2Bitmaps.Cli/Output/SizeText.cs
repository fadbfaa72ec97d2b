using System.Globalization;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Sizes as qemu-img shows them: three digits and a binary unit.</summary>
internal static class SizeText
{
    private static readonly string[] s_units = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

    /// <summary>For example <c>1.5 GiB</c>. The unit changes at 1000, not at 1024.</summary>
    public static string Of(ulong bytes)
    {
        int unit = 0;
        // 1000/1024 of the next unit: compared exactly, in integers.
        while (unit + 1 < s_units.Length && (UInt128)bytes * 1024 >= (UInt128)1000 << (10 * (unit + 1)))
        {
            unit++;
        }

        return $"{ThreeDigits(bytes / Math.ScaleB(1.0, 10 * unit))} {s_units[unit]}B";
    }

    /// <summary>What C's <c>%0.3g</c> makes of a value from 0 to 1024.</summary>
    private static string ThreeDigits(double value)
    {
        if (value == 0)
        {
            return "0";
        }

        // The exponent is that of the rounded value.
        string scientific = value.ToString("0.00e+00", CultureInfo.InvariantCulture);
        int exponent = int.Parse(scientific.AsSpan(5), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
        if (exponent >= 3)
        {
            return $"{scientific.AsSpan(0, 4).TrimEnd('0').TrimEnd('.')}e+{exponent:00}";
        }

        string text = value.ToString("F" + (2 - exponent).ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);
        return text.Contains('.', StringComparison.Ordinal) ? text.TrimEnd('0').TrimEnd('.') : text;
    }
}
