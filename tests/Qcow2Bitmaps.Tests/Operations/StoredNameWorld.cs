using System.Globalization;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Qmp;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>
/// A folder with a base of some name, and what QEMU could take that name for, with other bytes. Each verb makes
/// an image of it that stores the base's name.
/// </summary>
internal sealed class StoredNameWorld : IDisposable
{
    private const byte Right = 0x41;
    private const byte Wrong = 0x42;
    private const int Size = 1 << 20;

    private readonly TempFolder _folder = TempFolder.InMemory();
    private readonly string _name;

    private StoredNameWorld(string name) => _name = name;

    /// <summary>The verbs: whether the caller gives the name that is stored, and whether anything is looked at.</summary>
    public static IReadOnlyDictionary<string, Func<StoredNameWorld, Task<ProcessResult>>> Verbs { get; } =
        new Dictionary<string, Func<StoredNameWorld, Task<ProcessResult>>>(StringComparer.Ordinal)
        {
            ["create -b"] = static world =>
                Support.Cli.RunAsync("create", "-q", "-f", "qcow2", "-b", world._name, "-F", "qcow2", world.Overlay),
            ["create -u -b"] = static world =>
                Support.Cli.RunAsync("create", "-q", "-f", "qcow2", "-u", "-b", world._name, "-F", "qcow2", world.Overlay, "1M"),
            ["create -o"] = static world => Support.Cli.RunAsync(
                "create", "-q", "-f", "qcow2", "-o", $"backing_file={Doubled(world._name)},backing_fmt=qcow2", world.Overlay),
            ["convert -B"] = static world =>
                Support.Cli.RunAsync("convert", "-O", "qcow2", "-B", world._name, "-F", "qcow2", world.Old, world.Overlay),
            ["convert -o"] = static world => Support.Cli.RunAsync(
                "convert", "-O", "qcow2", "-o", $"backing_file={Doubled(world._name)},backing_fmt=qcow2", world.Old, world.Overlay),
            ["rebase"] = static world => world.OverOldAsync("rebase", "-b", world._name, "-F", "qcow2", world.Overlay),
            ["rebase -u"] = static world => world.OverOldAsync("rebase", "-u", "-q", "-b", world._name, "-F", "qcow2", world.Overlay),
            ["chain rebase"] = static world => world.OverOldAsync("chain", "rebase", "-b", world._name, "-F", "qcow2", world.Overlay),
            ["chain rebase -u"] = static world =>
                world.OverOldAsync("chain", "rebase", "-u", "-q", "-b", world._name, "-F", "qcow2", world.Overlay),
            ["snapshot --backing-name"] = static world =>
                Support.Cli.RunAsync("chain", "snapshot", "--backing-name", world._name, world.Base, world.Overlay),
            // No name is stored, but the file is to have just that one.
            ["chain flatten"] = static async world =>
            {
                ProcessResult made = await Support.Cli.RunAsync(
                    "chain", "flatten", world.Base, world._folder.Path + "/" + world._name + "2");
                FileNames.Rename(world._folder.Path + "/" + world._name + "2", world.Overlay, overwrite: false);
                return made;
            },
            ["snapshot"] = static world => Support.Cli.RunAsync("chain", "snapshot", world.Base, world.Overlay),
            ["chain commit"] = static async world =>
            {
                await world.OverBaseAsync();
                return await Support.Cli.RunAsync("chain", "commit", "--active", world.Overlay, world.Middle, world.Base);
            },
            ["chain pull"] = static async world =>
            {
                await world.OverBaseAsync();
                return await Support.Cli.RunAsync("chain", "pull", world.Overlay, "--base", world.Base);
            },
            ["drive-backup top"] = static async world =>
            {
                await Support.Cli.OkAsync("create", "-q", "-f", "qcow2", "-b", "./" + world._name, "-F", "qcow2", world.Middle);
                await using OwnServer server = await OwnServer.StartAsync(("n", world.Middle, false));
                await server.Peer.OkAsync(
                    $$$"""{"execute":"drive-backup","arguments":{"device":"n","job-id":"j","target":"{{{world.Overlay}}}","sync":"top","""
                    + $$$""" "format":"qcow2"}}""");
                await server.HangUpAsync();
                return new ProcessResult(0, [], "");
            },
        };

    /// <summary>The verbs whose caller says what is to be stored.</summary>
    public static bool IsChosen(string verb) => verb.Contains(" -", StringComparison.Ordinal) || verb is "rebase" or "chain rebase";

    private string Overlay => _folder.File("overlay.qcow2");

    private string Middle => _folder.File("middle.qcow2");

    private string Old => _folder.File("old.qcow2");

    private string Base => _folder.Path + "/" + _name;

    /// <summary>Makes the images that all worlds get copies of.</summary>
    public static async Task MakeTemplatesAsync(TempFolder templates)
    {
        await WriteAsync(templates.File("right"), Right);
        await WriteAsync(templates.File("wrong"), Wrong);
    }

    public static StoredNameWorld Make(string name, TempFolder templates)
    {
        var world = new StoredNameWorld(name);
        File.Copy(templates.File("right"), world.Old);
        File.Copy(templates.File("right"), world._folder.File("made"));
        FileNames.Rename(world._folder.File("made"), world.Base, overwrite: false);
        File.Copy(templates.File("wrong"), world._folder.File("foo.qcow2"));
        return world;
    }

    /// <summary>Looks at what a verb did.</summary>
    /// <returns>"refused" where it has said so and done nothing, "right" where QEMU and we read the base
    /// through the image; else what is wrong.</returns>
    public async Task<string> RunAsync(string verb)
    {
        ProcessResult result = await Verbs[verb](this);
        if (result.ExitCode != 0)
        {
            bool isUntouched = !Path.Exists(Overlay) || await ReadAsync(Overlay) == Right;
            return result.ExitCode == 1 && isUntouched && result.Error.Count(static c => c == '\n') is 1 or 2
                ? "refused"
                : $"exit {result.ExitCode}, {isUntouched}: {result.Error}";
        }

        // From another folder than ours, and without the images that the operation is done with.
        File.Delete(Old);
        File.Delete(Middle);
        ProcessResult qemu = await Qemu.RunAsync("qemu-io", "/", "-r", "-f", "qcow2", "-c", $"read -P {Right} 0 1M", Overlay);
        string stored = await StoredAsync();
        return qemu.ExitCode != 0 || qemu.Output.Contains("failed", StringComparison.Ordinal) || qemu.Error.Length > 0
            ? $"QEMU, by '{stored}': {qemu.Output}{qemu.Error}"
            : await ReadAsync(Overlay) is not Right and var read ? $"we, by '{stored}': {read}"
            : "right";
    }

    public void Dispose() => _folder.Dispose();

    private static string Doubled(string name) => name.Replace(",", ",,", StringComparison.Ordinal);

    private static async Task WriteAsync(string path, byte value)
    {
        await Support.Cli.OkAsync("create", "-q", "-f", "qcow2", path, Size.ToString(CultureInfo.InvariantCulture));
        await Qemu.IoOkAsync(path, $"write -P {value} 0 1M");
    }

    private static async Task<int> ReadAsync(string path)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(path);
        var bytes = new byte[Size];
        await chain.ReadAsync(0, bytes);
        return bytes.AsSpan().ContainsAnyExcept(bytes[0]) ? -1 : bytes[0];
    }

    private async Task<string> StoredAsync()
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(Overlay);
        return PrintableText.Escape(image.BackingFile ?? "");
    }

    /// <summary>Runs a verb on an overlay of a base that reads the same.</summary>
    private async Task<ProcessResult> OverOldAsync(params string[] arguments)
    {
        await Qcow2Image.CreateAsync(
            Overlay, new Qcow2CreateOptions { SizeBytes = Size, BackingFile = "old.qcow2", BackingFormat = "qcow2" });
        return await Support.Cli.RunAsync(arguments);
    }

    private async Task OverBaseAsync()
    {
        await Qcow2Image.CreateAsync(
            Middle, new Qcow2CreateOptions { SizeBytes = Size, BackingFile = "./" + _name, BackingFormat = "qcow2" });
        await Qcow2Image.CreateAsync(
            Overlay, new Qcow2CreateOptions { SizeBytes = Size, BackingFile = "middle.qcow2", BackingFormat = "qcow2" });
    }
}
