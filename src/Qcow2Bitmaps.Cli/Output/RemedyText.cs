using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Words remedies as commands of this tool: the only place that does.</summary>
internal static class RemedyText
{
    private const string PlainCharacters = "/._-+,:=@%";
    private const int MaxNames = 5;

    /// <summary>The message of an error for people, with what they can do about it.</summary>
    public static PrintableMessage Describe(Exception e)
    {
        string more = e switch
        {
            BitmapStateException { Verdict: { } verdict } => $"; remedy: {Of(verdict)}",
            Qcow2UnsupportedException { Id: "backing-outside-allowed-folders" } => " (--allow-backing DIR allows more)",
            BackupException { ExpectedBacking: { } backing } =>
                PrintableMessage.Of($": 'rebase -u -b {backing.FileName} -F {backing.Format}' mends that"),
            Qcow2Exception { Remedy: { } remedy } => Of(remedy),
            _ => "",
        };
        return $"{e}{more}";
    }

    /// <summary>As the other one, of a fault that ended nothing.</summary>
    public static PrintableMessage Describe(FormatFault fault) => $"{fault}{(fault.Remedy is { } remedy ? Of(remedy) : "")}";

    /// <summary>The verdict in one line, and what helps.</summary>
    public static string Describe(BitmapVerdict verdict) => Of(verdict) is { } advice ? $"{verdict}; remedy: {advice}" : verdict.ToString();

    /// <summary>What helps a bitmap; null where it needs no help.</summary>
    public static string? Of(BitmapVerdict verdict)
    {
        if (verdict.RemedyDetails is not { } details)
        {
            return null;
        }

        string name = verdict.Name;
        string top = details.TopPath;
        return verdict.Remedy switch
        {
            Remedy.Wait => "ask the process that has the image open, or look again when it has closed it",
            Remedy.Repair => $"{Command("check", "-r", "bitmaps", details.ImagePath!)}: bits in doubt become dirty",
            Remedy.Delete when details.ImagePath is { } birth =>
                $"{Delete(top, name)}; only where {PrintableMessage.Of($"image {details.ImageIndex} ({birth})")} was neither committed and "
                + $"emptied nor rebased since the bitmap was made, {Command("chain", "populate", "--trust-birth", top, name)} rebuilds it",
            Remedy.Delete => Delete(top, name),
            Remedy.Populate => $"{Command("chain", "populate", top, name)}: rebuilds it from what the images have allocated; "
                + "it then marks all changes, and perhaps more",
            Remedy.PopulateSince => PopulateSince(top, name, details),
            Remedy.Pull => Pull(top, details),
            _ => "a full backup with a new bitmap",
        };
    }

    /// <summary>What follows a message that has a remedy.</summary>
    private static string Of(Remedy remedy) => remedy switch
    {
        Remedy.Repair => "; 'check -r all' repairs this",
        Remedy.Populate => ": it is rebuilt from what images have allocated, without an older one (--since)",
        Remedy.PopulateSince => "; an older one could stand in for it (--since)",
        Remedy.PopulateAllDirty => "; all of it could be marked instead (--all-dirty), or a full backup be taken",
        Remedy.TrustBirth => $" (--trust-birth if neither was done){Of(Remedy.PopulateAllDirty)}",
        Remedy.DeleteSnapshots =>
            ". Copy out what is needed of them (convert -l) and delete them (snapshot -d) first; nothing was written",
        Remedy.RecoverEdit => ": 'bitmap --recover', this one first",
        Remedy.VerifyBackup => "; 'backup verify --disk' finds out",
        Remedy.AdoptBackup =>
            ". If another program made it, 'backup adopt IMAGE... --disk TOP --checkpoint NAME' makes manifests for it and for the backups "
            + "that it is based on",
        _ => "",
    };

    private static string PopulateSince(string top, string name, RemedyDetails details)
    {
        string command = $"{Command("chain", "populate", top, name, "--since")} OLDER";
        return details.AreOlderValid
            ? $"{command}: takes over what changed since OLDER, a valid checkpoint that was made before it "
                + $"({ShowNames(details.OlderBitmaps)}, if that is older)"
            : $"{command}, once OLDER, a checkpoint that was made before it ({ShowNames(details.OlderBitmaps)}, if that is older), "
                + $"has been rebuilt with {Command("chain", "populate", top)} OLDER";
    }

    private static string Pull(string top, RemedyDetails details)
    {
        string[] pull = details.BasePath is { } path ? ["chain", "pull", "--base", path, top] : ["chain", "pull", top];
        string commit = details.CanCommit ? $"{Command("chain", "commit", top, details.ImagePath!)}, or " : "";
        return $"{Command(pull)}; or {commit}{Command("chain", "flatten", top)} NEW";
    }

    private static string Delete(string top, string name) =>
        $"{Command("chain", "delete", top, name)}, and a full backup with a new bitmap";

    private static string ShowNames(IReadOnlyList<string> names) =>
        string.Join(" or ", names.Take(MaxNames).Select(static name => PrintableMessage.Of($"'{name}'")))
            + (names.Count > MaxNames ? " or others" : "");

    private static string Command(params IEnumerable<string> words) => $"{MessageWriter.ToolName} {string.Join(' ', words.Select(Quote))}";

    /// <summary>
    /// Quotes a word for a shell where it has to be. Characters that could trick a terminal are escaped, and have to be typed otherwise.
    /// </summary>
    private static string Quote(string word)
    {
        string shown = ImageText.Escape(word);
        return shown.Length > 0
            && shown.All(static c => char.IsAsciiLetterOrDigit(c) || PlainCharacters.Contains(c, StringComparison.Ordinal))
            ? shown
            : $"'{shown.Replace("'", @"'\''", StringComparison.Ordinal)}'";
    }
}
