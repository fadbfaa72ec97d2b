using Qcow2Bitmaps.Tests.Qmp;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Storage;

/// <summary>A command that makes files out of images. SOURCE and MADE are folders, which may be one.</summary>
/// <param name="Name">What it is called.</param>
/// <param name="Command">The command.</param>
/// <param name="Before">Commands that come first.</param>
internal sealed record FileMaker(string Name, string Command, params string[] Before)
{
    private const string DriveBackup = "drive-backup ";
    private const string Journal = "journal";
    private static readonly string[] s_sources = ["base", "disk", "raw"];

    /// <summary>All of them.</summary>
    public static IReadOnlyList<FileMaker> All { get; } =
    [
        new("create -b", "create -q -f qcow2 -b SOURCE/disk -F qcow2 MADE/x"),
        new("create -u -b", "create -q -f qcow2 -u -b SOURCE/disk -F qcow2 MADE/x 1M"),
        new("create -b, data_file", "create -q -f qcow2 -o data_file=MADE/d -b SOURCE/disk -F qcow2 MADE/x"),
        new("create around a disk", "create -q -f qcow2 -o data_file=SOURCE/raw,data_file_raw=on,keep_data_file=on MADE/x"),
        new("snapshot", "chain snapshot SOURCE/disk MADE/x"),
        new("snapshot of raw", "chain snapshot -f raw SOURCE/raw MADE/x"),
        new("flatten", "chain flatten SOURCE/disk MADE/x"),
        new("flatten -c", "chain flatten -c SOURCE/disk MADE/x"),
        new("convert raw", "convert SOURCE/disk MADE/x"),
        new("convert raw falloc", "convert -o preallocation=falloc SOURCE/disk MADE/x"),
        new("convert qcow2", "convert -O qcow2 --bitmaps SOURCE/disk MADE/x"),
        new("convert data_file", "convert -O qcow2 -o data_file=MADE/d SOURCE/disk MADE/x"),
        new("convert -B", "convert -O qcow2 -B SOURCE/base -F qcow2 SOURCE/disk MADE/x"),
        new("convert of two", "convert SOURCE/raw SOURCE/disk MADE/x"),
        new("backup full", "backup full SOURCE/disk MADE/x --checkpoint c"),
        new("backup full raw", "backup full -O raw SOURCE/disk MADE/x"),
        new("backup incremental", "backup incremental SOURCE/disk MADE/y --since c", "backup full SOURCE/disk MADE/x --checkpoint c"),
        new("backup again", "backup full SOURCE/disk MADE/y --checkpoint d", "backup full SOURCE/disk MADE/x --checkpoint c"),
        new("backup adopt", "backup adopt MADE/x --disk SOURCE/disk --checkpoint b", "convert -O qcow2 SOURCE/disk MADE/x"),
        new("restore", "backup restore MADE/x MADE/y", "backup full SOURCE/disk MADE/x"),
        new("restore raw", "backup restore MADE/x MADE/y -O raw", "backup full SOURCE/disk MADE/x"),
        new(Journal, ""),
        new(DriveBackup + "full", "full qcow2"),
        new(DriveBackup + "raw", "full raw"),
        new(DriveBackup + "top", "top qcow2"),
    ];

    /// <summary>Whether its command is one of the tool's.</summary>
    public bool IsOfTool => Command.Contains("SOURCE", StringComparison.Ordinal) || Command.Contains("MADE", StringComparison.Ordinal);

    /// <summary>Whether what it makes may lie in another folder.</summary>
    public bool MakesElsewhere => Name is not Journal;

    /// <summary>Makes what files are made of: a disk with a base and a bitmap in both, and a raw one.</summary>
    public static async Task MakeSourcesAsync(string folder)
    {
        string[] paths = [.. s_sources.Select(name => Path.Combine(folder, name))];
        await Support.Cli.OkAsync("create", "-q", "-f", "qcow2", paths[0], "1M");
        await Support.Cli.OkAsync("bitmap", "--add", paths[0], "b");
        await Qemu.IoOkAsync(paths[0], "write -P 1 0 256k");
        await Support.Cli.OkAsync("chain", "snapshot", paths[0], paths[1]);
        await Support.Cli.OkAsync("create", "-q", "-f", "raw", paths[2], "1M");
    }

    /// <summary>Copies them, and gives them a mode.</summary>
    public static void CopySources(string from, string folder, string mode)
    {
        foreach (string name in s_sources)
        {
            string path = Path.Combine(folder, name);
            File.Copy(Path.Combine(from, name), path);
            if (!OperatingSystem.IsWindows())
            {
                File.SetUnixFileMode(path, (UnixFileMode)Convert.ToInt32(mode, 8));
            }
        }
    }

    /// <summary>The arguments of its command.</summary>
    public string[] Arguments(string source, string made) => Arguments(Command, source, made);

    /// <summary>Does what comes first.</summary>
    public async Task PrepareAsync(string source, string made)
    {
        foreach (string command in Before)
        {
            await Support.Cli.OkAsync(Arguments(command, source, made));
        }
    }

    /// <summary>Makes the files, in this process.</summary>
    public async Task RunAsync(string source, string made)
    {
        await PrepareAsync(source, made);
        if (IsOfTool)
        {
            ProcessResult result = await Support.Cli.RunAsync(isTerminal: false, Arguments(source, made));
            Assert.True(result.ExitCode == 0, $"{Name}: {result.Error}");
            return;
        }

        if (Name == Journal)
        {
            await using Qcow2Image top = await Qcow2Image.OpenAsync(Path.Combine(source, "disk"), FileAccess.ReadWrite);
            await using Qcow2Image below = await Qcow2Image.OpenAsync(Path.Combine(source, "base"), FileAccess.ReadWrite);
            await new BitmapEditSet().Add(top, static edit => edit.Add("new")).Add(below, static edit => edit.Add("new")).CommitAsync();
            return;
        }

        string[] how = Command.Split(' ');
        await using OwnServer server = await OwnServer.StartAsync(("n", Path.Combine(source, "disk"), false));
        await server.Peer.OkAsync(
            $$$"""{"execute":"drive-backup","arguments":{"device":"n","job-id":"j","target":"{{{made}}}/x","sync":"{{{how[0]}}}","""
            + $$$""" "format":"{{{how[1]}}}"}}""");
        await server.HangUpAsync();
    }

    private static string[] Arguments(string command, string source, string made) =>
        command.Replace("SOURCE", source, StringComparison.Ordinal).Replace("MADE", made, StringComparison.Ordinal).Split(' ');
}
