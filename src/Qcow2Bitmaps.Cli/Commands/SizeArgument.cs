using System.CommandLine;
using Qcow2Bitmaps.Cli.Options;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>Sizes on the command line as qemu-img reads them: decimal, with a fraction and a binary suffix, or hexadecimal.</summary>
internal static class SizeArgument
{
    /// <summary>Reads the sizes given for an option; the last one wins.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="option">The option.</param>
    /// <param name="what">What the size is of, for the message.</param>
    /// <param name="bytes">The size in bytes; null when none is given.</param>
    /// <returns>The first error, in qemu-img's words; null if all are valid.</returns>
    public static string? Read(ParseResult parsed, Option option, string what, out long? bytes)
    {
        bytes = null;
        foreach (string text in CommonOptions.Values(parsed, option))
        {
            if (!TryParse(text, what, out long size, out string error))
            {
                return error;
            }

            bytes = size;
        }

        return null;
    }

    /// <summary>Reads a size.</summary>
    /// <param name="text">For example <c>1.5G</c>, <c>64k</c>, <c>0x1000</c>.</param>
    /// <param name="what">What the size is of, for the message.</param>
    /// <param name="bytes">The size in bytes, rounded; not negative.</param>
    /// <param name="error">What is wrong, in qemu-img's words.</param>
    /// <returns>Whether the text is a size of at most 2^63-1 bytes.</returns>
    public static bool TryParse(string text, string what, out long bytes, out string error)
    {
        bytes = 0;
        error = "";
        NumberSyntax syntax = ByteCount.Parse(text, out ulong value);
        if (syntax == NumberSyntax.Invalid)
        {
            error = $"Invalid {what} specified. You may use k, M, G, T, P or E suffixes for\n{Output.MessageWriter.ToolName}: kilobytes, "
                + $"megabytes, gigabytes, terabytes, petabytes and exabytes.";
            return false;
        }

        if (syntax == NumberSyntax.OutOfRange || value > long.MaxValue)
        {
            error = $"Invalid {what} specified. Must be between 0 and {long.MaxValue}.";
            return false;
        }

        bytes = (long)value;
        return true;
    }
}
