using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Errors and warnings on standard error, each behind the tool's name. A standard error that fails is nobody to complain to.</summary>
/// <remarks>What was written to standard output before goes out first, so that both are in order where one pipe takes them.</remarks>
/// <param name="output">Standard output.</param>
/// <param name="error">Standard error.</param>
internal sealed class MessageWriter(ToolWriter output, TextWriter error)
{
    public const string ToolName = "qcow2bitmaps";

    private const int MaxShown = 20;

    public void Error(string text) => WriteLine($"{ToolName}: {text}");

    public void Warn(string text) => WriteLine($"{ToolName}: warning: {text}");

    public void WriteLine(string line)
    {
        output.TryFlush();
        try
        {
            error.Write(line + "\n");
            error.Flush();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Standard error is closed or full. The exit code still tells.
        }
    }

    /// <summary>Shows findings, the first ones of many.</summary>
    public void Warn(string imageName, IReadOnlyCollection<FormatFault> findings)
    {
        foreach (FormatFault finding in findings.Take(MaxShown))
        {
            Warn($"'{PrintableText.Escape(imageName)}': {finding}");
        }

        if (findings.Count > MaxShown)
        {
            Warn($"'{PrintableText.Escape(imageName)}': {findings.Count - MaxShown} more of these");
        }
    }

    /// <summary>Warns of what was found while a chain was opened: faults, formats that nobody stated, layers that hide others' ends.</summary>
    public void WarnOf(ImageChain chain)
    {
        foreach (ChainLayer layer in chain.Layers)
        {
            Warn(layer.Path, layer.Image?.Findings ?? []);
            if (layer.Index == 0)
            {
                continue;
            }

            ChainLayer above = chain.Layers[layer.Index - 1];
            if (layer.IsFormatProbed)
            {
                Warn($"'{PrintableText.Escape(above.Path)}' does not state the format of its backing file; its first bytes say {layer.Format}");
            }

            if (above.VirtualSizeBytes < layer.VirtualSizeBytes)
            {
                Warn($"{PrintableText.Escape(above.ToString())} is shorter than {PrintableText.Escape(layer.ToString())} below it and hides what that has behind its end");
            }
        }
    }

    /// <summary>Warns of a top image that nobody said is raw: it may be something else that is not read here.</summary>
    public void WarnOfRawTop(ImageChain chain)
    {
        if (chain.Layers[0] is { IsFormatProbed: true, Image: null } top)
        {
            Warn($"'{PrintableText.Escape(top.Path)}' is no qcow2 image and is taken as raw, which holds no bitmaps; '-f raw' says so");
        }
    }
}
