using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>
/// Writes errors and warnings to standard error, each prefixed with the tool's name. Failures of standard error itself are ignored.
/// </summary>
/// <remarks>Standard output is flushed first, so that the order is right if both go to one pipe.</remarks>
/// <param name="output">Standard output.</param>
/// <param name="error">Standard error.</param>
internal sealed class MessageWriter(ToolWriter output, TextWriter error)
{
    public const string ToolName = "qcow2bitmaps";

    private const int MaxShown = 20;

    public void Error(PrintableMessage message) => WriteLine($"{ToolName}: {message}");

    /// <summary>As the other overload, for a complete message whose line breaks are kept.</summary>
    public void Error(string lines) => Error(PrintableMessage.OfLines(lines));

    /// <summary>Tells what the library says of an argument, without the name of its parameter, which means nothing here.</summary>
    /// <returns>The exit code.</returns>
    public int WrongArgument(ArgumentException e)
    {
        Error(e.Message.Replace($" (Parameter '{e.ParamName}')", "", StringComparison.Ordinal));
        return ExitCode.Error;
    }

    public void Warn(PrintableMessage message) => WriteLine($"{ToolName}: warning: {message}");

    /// <inheritdoc cref="Error(string)"/>
    public void Warn(string lines) => Warn(PrintableMessage.OfLines(lines));

    /// <summary>Does what only completes a command that has succeeded: a failure is a warning.</summary>
    /// <param name="left">What is left undone if it fails.</param>
    /// <param name="work">The work.</param>
    public async Task TryAsync(string left, Func<Task> work)
    {
        try
        {
            await work();
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            Warn($"{left}: {e}");
        }
    }

    public void WriteLine(PrintableMessage message)
    {
        output.TryFlush();
        try
        {
            error.Write(message + "\n");
            error.Flush();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Standard error is closed or full. The exit code still reports the error.
        }
    }

    /// <summary>Shows findings; if there are many, only the first ones.</summary>
    public void Warn(string imageName, IReadOnlyCollection<FormatFault> findings)
    {
        foreach (FormatFault finding in findings.Take(MaxShown))
        {
            Warn($"'{imageName}': {RemedyText.Describe(finding)}");
        }

        if (findings.Count > MaxShown)
        {
            Warn($"'{imageName}': {findings.Count - MaxShown} more of these");
        }
    }

    /// <summary>
    /// Warns of what was found when a chain was opened: faults, probed formats, layers that hide the ends of longer ones.
    /// </summary>
    public void WarnOf(ImageChain chain)
    {
        foreach (ChainLayer layer in chain.Layers)
        {
            Warn(layer.Path, (layer as Qcow2Layer)?.Image.Findings ?? []);
            if (layer.Index == 0)
            {
                continue;
            }

            ChainLayer above = chain.Layers[layer.Index - 1];
            if (layer.IsFormatProbed)
            {
                Warn($"'{above.Path}' does not state the format of its backing file; its first bytes say {layer.Format}");
            }

            if (above.VirtualSizeBytes < layer.VirtualSizeBytes)
            {
                Warn($"{above} is shorter than {layer} below it and hides its end");
            }
        }
    }

    /// <summary>Warns of files that are shorter than their images' tables require, for verbs that continue with what is there.</summary>
    public async ValueTask WarnOfTruncationAsync(ImageChain chain, bool withDataFiles, CancellationToken cancellationToken)
    {
        foreach (IGrouping<ChainLayer, FormatFault> found in await chain.FindTruncationsAsync(withDataFiles, cancellationToken))
        {
            foreach (FormatFault fault in found)
            {
                WarnOfTruncation(found.Key.Path, fault, found.Key.IsWritable);
            }
        }
    }

    /// <summary>As the other overload, for one image. Verbs that do not read tables trust the reference counts instead.</summary>
    public async ValueTask WarnOfTruncationAsync(Qcow2Image image, bool isWritten, bool trustsCounts, CancellationToken cancellationToken)
    {
        if (await image.FindTruncationAsync(trustsCounts, cancellationToken) is { } fault)
        {
            WarnOfTruncation(image.Name, fault, isWritten);
        }
    }

    private void WarnOfTruncation(string path, FormatFault fault, bool isWritten)
    {
        string after = isWritten
            ? "; writing to the image may make the file longer, and then nobody can tell that something is missing"
            : "";
        Warn($"'{path}': {RemedyText.Describe(fault)}{after}");
    }

    /// <summary>Warns of internal snapshots whose content changes, for verbs that proceed anyway.</summary>
    public void WarnOf(IReadOnlyList<string> changedSnapshots)
    {
        foreach (string snapshots in changedSnapshots)
        {
            Warn(snapshots);
        }
    }

    /// <summary>Warns of a top image that is probed as raw: it may have a format that is not supported here.</summary>
    public void WarnOfRawTop(ImageChain chain)
    {
        if (chain.Layers[0] is RawLayer { IsFormatProbed: true } top)
        {
            Warn($"'{top.Path}' is no qcow2 image and is taken as raw, which holds no bitmaps; '-f raw' says so");
        }
    }
}
