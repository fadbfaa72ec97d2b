using System.Globalization;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Storage;

/// <summary>
/// What is made is no more readable than what it is made of, at no moment, whatever makes it; and never wider than the umask.
/// </summary>
public sealed class FileRightsTests
{
    private const int SharedBits = 0x3F; // ---rwxrwx
    private static readonly int s_umask = Convert.ToInt32(
        File.ReadLines("/proc/self/status")
            .First(static line => line.StartsWith("Umask:", StringComparison.Ordinal))["Umask:".Length..]
            .Trim(),
        8);
    private const string User = "4321";
    private const string Group = "4322";

    public static TheoryData<string> Makers => [.. FileMaker.All.Select(static maker => maker.Name)];

    [Theory]
    [MemberData(nameof(Makers))]
    public async Task NobodyMayReadMoreThanBefore(string name)
    {
        Qemu.Require();
        FileMaker maker = FileMaker.All.Single(maker => maker.Name == name);
        var wrong = new List<string>();
        using var templates = new TempFolder();
        await FileMaker.MakeSourcesAsync(templates.Path);
        foreach (string mode in (string[])["600", "640", "604", "660", "666", "400", "444"])
        {
            foreach (bool isBeside in maker.MakesElsewhere ? (bool[])[true, false] : [true])
            {
                using var folder = new TempFolder();
                string source = Directory.CreateDirectory(folder.File("source")).FullName;
                string made = isBeside ? source : Directory.CreateDirectory(folder.File("made")).FullName;
                FileMaker.CopySources(templates.Path, source, mode);
                HashSet<string> before = [.. Directory.GetFiles(source)];
                using var trace = new ModeTrace();

                await maker.RunAsync(source, made);

                Assert.NotEmpty(trace.Modes);
                int allowed = Convert.ToInt32(mode, 8) & Convert.ToInt32("044", 8) & ~s_umask;
                IEnumerable<(string, int)> last = Directory.GetFiles(made)
                    .Concat(Directory.GetFiles(source))
                    .Where(path => !before.Contains(path))
                    .Select(static path => (path, ModeOf(path)));
                wrong.AddRange(last.Concat(trace.Modes.Select(static one => (one.Key, one.Value)))
                    .Where(one => (one.Item2 & SharedBits & ~allowed) != 0)
                    .Select(one => $"{mode}: {Path.GetRelativePath(folder.Path, one.Item1)} has {Convert.ToString(one.Item2, 8)}"));
                wrong.AddRange(
                    last.Where(one => (one.Item2 & SharedBits) != allowed).Select(
                        one => $"{mode}: {Path.GetRelativePath(folder.Path, one.Item1)} ends as {Convert.ToString(one.Item2, 8)}"));
            }
        }

        Assert.True(wrong.Count == 0, $"{name}\n{string.Join('\n', wrong.Distinct())}");
    }

    /// <summary>
    /// Beside an image of another owner root makes files of that owner. Elsewhere they stay root's, and the group that
    /// they have there has no more than everybody.
    /// </summary>
    [Theory]
    [MemberData(nameof(Makers))]
    public async Task TheOwnerIsKeptBesideTheSource(string name)
    {
        Qemu.Require();
        FileMaker maker = FileMaker.All.Single(maker => maker.Name == name);
        using var templates = new TempFolder();
        await FileMaker.MakeSourcesAsync(templates.Path);
        foreach ((string mode, string beside, string elsewhere)
            in ((string, string, string)[])[("640", "640", "600"), ("644", "644", "644"), ("604", "604", "600"), ("600", "600", "600")])
        {
            foreach (bool isBeside in maker.MakesElsewhere ? (bool[])[true, false] : [true])
            {
                using var folder = new TempFolder();
                string source = Directory.CreateDirectory(folder.File("source")).FullName;
                string made = isBeside ? source : Directory.CreateDirectory(folder.File("made")).FullName;
                FileMaker.CopySources(templates.Path, source, mode);
                if (Environment.IsPrivilegedProcess)
                {
                    await Qemu.RunAsync("chown", source, [$"{User}:{Group}", .. Directory.GetFiles(source)]);
                }

                HashSet<string> before = [.. Directory.GetFiles(source)];

                await maker.RunAsync(source, made);

                foreach (string path in Directory.GetFiles(made).Where(path => !before.Contains(path)))
                {
                    string found = (await Qemu.RunAsync("stat", null, "-c", "%a %u:%g", path)).Output.Trim();
                    string expected = !Environment.IsPrivilegedProcess ? found
                        : isBeside ? $"{beside} {User}:{Group}"
                        : $"{elsewhere} 0:0";
                    Assert.True(found == expected, $"{name}, {mode}, {Path.GetRelativePath(folder.Path, path)}: {found}, not {expected}");
                }
            }
        }
    }

    /// <summary>Made of nothing a file is as qemu-img makes it; made of something, the umask takes away what it says.</summary>
    [Theory]
    [InlineData("000")]
    [InlineData("027")]
    [InlineData("177")]
    public async Task TheUmaskIsObeyed(string umask)
    {
        Qemu.Require();
        using var folder = new TempFolder();
        await MakeSourcesAsync(folder, "666");
        string made = Directory.CreateDirectory(folder.File("made")).FullName;
        foreach (string format in (string[])["raw", "qcow2"])
        {
            string[] create = ["create", "-q", "-f", format, Path.Combine(made, "x"), "1M"];
            await RunAsync(umask, ["qemu-img", .. create]);
            int qemu = ModeOf(Path.Combine(made, "x"));
            File.Delete(Path.Combine(made, "x"));
            await RunAsync(umask, [.. Tool.Command, .. create]);
            Assert.Equal(qemu, ModeOf(Path.Combine(made, "x")));
            File.Delete(Path.Combine(made, "x"));
        }

        foreach (string name in (string[])["snapshot", "convert qcow2", "backup full", "restore raw"])
        {
            FileMaker maker = FileMaker.All.Single(maker => maker.Name == name);
            await maker.PrepareAsync(folder.Path, made);
            foreach (string path in Directory.GetFiles(made))
            {
                SetMode(path, "666");
            }

            HashSet<string> before = [.. Directory.GetFiles(made)];
            await RunAsync(umask, [.. Tool.Command, .. maker.Arguments(folder.Path, made)]);
            foreach (string path in Directory.GetFiles(made))
            {
                Assert.True(
                    before.Contains(path) || ModeOf(path) == (Convert.ToInt32("644", 8) & ~Convert.ToInt32(umask, 8)),
                    $"{name}: {path} has {Convert.ToString(ModeOf(path), 8)}");
                File.Delete(path);
            }
        }
    }

    /// <summary>
    /// The bits of a group are not all where an access control list grants more than they say, and to others than they say.
    /// </summary>
    [Fact]
    public async Task AnAccessControlListGrantsNothingToTheGroup()
    {
        using var folder = new TempFolder();
        await Support.Cli.OkAsync("create", "-q", "-f", "qcow2", folder.File("disk"), "1M");
        SetMode(folder.File("disk"), "640");
        if (!await TrySetAccessListAsync(folder.File("disk")))
        {
            // A file system without lists: the mode says all.
            return;
        }

        await Support.Cli.OkAsync("chain", "snapshot", folder.File("disk"), folder.File("x"));

        Assert.Equal("600", Convert.ToString(ModeOf(folder.File("x")), 8));
    }

    /// <summary>A manifest that is written again stays as its owner has made it.</summary>
    [Fact]
    public async Task WhatTakesAnothersPlaceHasItsRights()
    {
        Qemu.Require();
        using var folder = new TempFolder();
        await MakeSourcesAsync(folder, "644");
        await Support.Cli.OkAsync("backup", "full", folder.File("disk"), folder.File("x"), "--checkpoint", "c");
        SetMode(folder.File("x.backup.json"), "600");
        byte[] before = await File.ReadAllBytesAsync(folder.File("x.backup.json"), TestContext.Current.CancellationToken);

        // The checkpoint's new backup takes its place.
        await Support.Cli.OkAsync("backup", "incremental", folder.File("disk"), folder.File("y"), "--since", "c");

        Assert.NotEqual(before, await File.ReadAllBytesAsync(folder.File("x.backup.json"), TestContext.Current.CancellationToken));
        Assert.Equal("600", Convert.ToString(ModeOf(folder.File("x.backup.json")), 8));
    }

    private static async Task MakeSourcesAsync(TempFolder folder, string mode)
    {
        using var templates = new TempFolder();
        await FileMaker.MakeSourcesAsync(templates.Path);
        FileMaker.CopySources(templates.Path, folder.Path, mode);
    }

    private static int ModeOf(string path) => OperatingSystem.IsWindows() ? 0 : (int)File.GetUnixFileMode(path);

    private static async Task RunAsync(string umask, string[] command)
    {
        ProcessResult result = await Qemu.RunAsync("sh", null, ["-c", $"umask {umask}; exec \"$@\"", "sh", .. command]);
        Assert.True(result.ExitCode == 0, string.Create(CultureInfo.InvariantCulture, $"{string.Join(' ', command)}: {result.Error}"));
    }

    /// <summary>Grants user 4321 reading, as setfacl does: its tool need not be here.</summary>
    private static async Task<bool> TrySetAccessListAsync(string path)
    {
        // Version 2; owner rw-, user 4321 r--, group ---, mask r--, others ---.
        const string list = "0x0200000001000600ffffffff02000400e110000004000000ffffffff10000400ffffffff20000000ffffffff";
        ProcessResult result = await Qemu.RunAsync(
            "python3", null, "-c", "import os,sys; os.setxattr(sys.argv[1],'system.posix_acl_access',bytes.fromhex(sys.argv[2][2:]))", path,
            list);
        return result.ExitCode == 0;
    }

    private static void SetMode(string path, string mode)
    {
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(path, (UnixFileMode)Convert.ToInt32(mode, 8));
        }
    }
}
