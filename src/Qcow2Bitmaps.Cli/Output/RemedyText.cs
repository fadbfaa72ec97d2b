using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Says what helps where a bitmap is not valid: a command where there is one.</summary>
internal static class RemedyText
{
    private const string PlainCharacters = "/._-+,:=@%";

    /// <summary>The remedy as scripts should read it.</summary>
    public static string IdOf(Remedy remedy) => remedy switch
    {
        Remedy.Populate => "populate",
        Remedy.Repair => "repair",
        Remedy.Wait => "wait",
        _ => "delete",
    };

    /// <summary>One line for people, with what to type in a shell.</summary>
    public static string Of(Remedy remedy, ImageChain chain, BitmapVerdict verdict) => remedy switch
    {
        Remedy.Populate => $"{Command("chain", "populate", chain.Layers[0].Path, verdict.Name)}: rebuilds it from what the images have; it knows of all changes then, and perhaps of more",
        Remedy.Repair => $"{Command("check", "-r", "bitmaps", chain.Layers[verdict.Image!.Value].Path)}: bits in doubt become dirty",
        Remedy.Wait => "ask the process that has the image open, or look again when it has closed it",
        _ => $"{Command("chain", "delete", chain.Layers[0].Path, verdict.Name)}, and a full backup with a new bitmap",
    };

    private static string Command(params IEnumerable<string> words) => $"{MessageWriter.ToolName} {string.Join(' ', words.Select(Quote))}";

    /// <summary>Quotes a word for a shell where it has to be. Characters that could trick a terminal are escaped, and have to be typed otherwise.</summary>
    private static string Quote(string word)
    {
        string shown = PrintableText.Escape(word);
        return shown.Length > 0 && shown.All(static c => char.IsAsciiLetterOrDigit(c) || PlainCharacters.Contains(c, StringComparison.Ordinal))
            ? shown
            : $"'{shown.Replace("'", @"'\''", StringComparison.Ordinal)}'";
    }
}
