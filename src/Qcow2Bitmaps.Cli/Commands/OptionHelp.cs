using Qcow2Bitmaps.Cli.Options;
using Qcow2Bitmaps.Cli.Output;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>What <c>-o help</c> of create and convert prints.</summary>
internal static class OptionHelp
{
    /// <summary>Lists the options of a format.</summary>
    /// <param name="format">The format.</param>
    /// <param name="isNamed">Whether the first line names the format.</param>
    /// <param name="output">Takes the list.</param>
    /// <param name="messages">Takes the error when there is no such format.</param>
    /// <returns>The exit code.</returns>
    public static int Write(string format, bool isNamed, ToolWriter output, MessageWriter messages)
    {
        if (CreateCommand.Describe(format) is not { } descriptions)
        {
            messages.Error(CreateCommand.UnknownFormat(format));
            return ExitCode.Error;
        }

        output.WriteLine(isNamed ? $"Supported {format} options:" : "Supported options:");
        foreach (OptionDescription description
            in descriptions.Where(static d => d.Help is not null).OrderBy(static d => d.Name, StringComparer.Ordinal))
        {
            output.WriteLine(description.HelpLine);
        }

        return ExitCode.Success;
    }
}
