using System.Globalization;
using System.Numerics;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>Sizes on the command line as qemu-img reads them: decimal, with a fraction and a binary suffix, or hexadecimal.</summary>
internal static class SizeArgument
{
    private const string Suffixes = "bkmgtpe";

    /// <summary>Reads a size.</summary>
    /// <param name="text">For example <c>1.5G</c>, <c>64k</c>, <c>0x1000</c>.</param>
    /// <param name="what">What the size is of, for the message.</param>
    /// <param name="bytes">The size in bytes, rounded down; not negative.</param>
    /// <param name="error">What is wrong, in qemu-img's words.</param>
    /// <returns>Whether the text is a size of at most 2^63-1 bytes.</returns>
    public static bool TryParse(string text, string what, out long bytes, out string error)
    {
        error = $"Invalid {what} specified. You may use k, M, G, T, P or E suffixes for\n{Output.MessageWriter.ToolName}: kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.";
        bytes = 0;
        if (Parse(text) is not { } value)
        {
            return false;
        }

        if (value > long.MaxValue)
        {
            error = $"Invalid {what} specified. Must be between 0 and {long.MaxValue}.";
            return false;
        }

        bytes = (long)value;
        return true;
    }

    private static BigInteger? Parse(string text)
    {
        if (text.StartsWith("0x", StringComparison.OrdinalIgnoreCase))
        {
            return BigInteger.TryParse("0" + text[2..], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out BigInteger hexadecimal) && text.Length > 2
                ? hexadecimal
                : null;
        }

        int shift = 0;
        if (text.Length > 0 && Suffixes.IndexOf(char.ToLowerInvariant(text[^1]), StringComparison.Ordinal) is >= 0 and int suffix)
        {
            shift = 10 * suffix;
            text = text[..^1];
        }

        string[] parts = text.Split('.');
        if (parts.Length > 2 || parts[0].Length == 0 || !parts.All(static part => part.All(char.IsAsciiDigit)))
        {
            return null;
        }

        BigInteger whole = BigInteger.Parse(parts[0], CultureInfo.InvariantCulture) << shift;
        if (parts.Length == 1 || parts[1].Length == 0)
        {
            return whole;
        }

        // A fraction of a byte is none.
        return shift == 0 ? null : whole + ((BigInteger.Parse(parts[1], CultureInfo.InvariantCulture) << shift) / BigInteger.Pow(10, parts[1].Length));
    }
}
