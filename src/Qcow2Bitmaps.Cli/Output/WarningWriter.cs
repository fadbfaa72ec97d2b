using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Warnings on standard error: what is wrong with an image and does not stop the command.</summary>
internal sealed class WarningWriter(TextWriter error, string toolName)
{
    private const int MaxShown = 20;

    public void Warn(string text) => error.WriteLine($"{toolName}: warning: {text}");

    public void Error(string text) => error.WriteLine($"{toolName}: {text}");

    /// <summary>Warns of what was found while a chain was opened.</summary>
    public void WarnOf(ImageChain chain)
    {
        foreach (ChainLayer layer in chain.Layers)
        {
            Warn(layer.Path, layer.Image?.Findings ?? []);
            if (layer is { IsFormatProbed: true, Index: > 0 })
            {
                Warn($"'{PrintableText.Escape(chain.Layers[layer.Index - 1].Path)}' does not state the format of its backing file; its first bytes say {layer.Format}");
            }
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
}
