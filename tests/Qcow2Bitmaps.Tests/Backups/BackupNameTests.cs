using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups;

/// <summary>Backups whose names QEMU could take for something else: each one's backing file is the backup below it.</summary>
public sealed class BackupNameTests
{
    [Theory]
    [InlineData("a:b")]
    [InlineData("file:foo")]
    [InlineData("json:{}")]
    [InlineData("a,b")]
    [InlineData("50%25")]
    [InlineData("-dash")]
    [InlineData("trailing ")]
    [InlineData("new\nline")]
    [InlineData("é")]
    [InlineData("back\\slash\"")]
    [InlineData("\udcff")]
    public async Task StandOnTheBackupBelow(string name)
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder, "1M");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", folder.File("foo"), "1M");
        if (ImageText.HasInvalidBytes(name))
        {
            Assert.Contains(
                "cannot be stored in a manifest",
                (await Assert.ThrowsAnyAsync<IOException>(() => scene.TakeAsync(name, new BackupOptions { Checkpoint = "c" }))).Message,
                StringComparison.Ordinal);
            Assert.Equal(2, Directory.GetFiles(folder.Path).Length);
            return;
        }

        await scene.TakeAsync(name, new BackupOptions { Checkpoint = "c" });
        await scene.WriteAsync("write -P 2 900k 64k");
        await scene.TakeAsync(name + "2", new BackupOptions { Since = "c", Checkpoint = "d" });
        await scene.WriteAsync("write -P 3 964k 32k");
        await scene.TakeAsync("last", new BackupOptions { Since = "d" });

        ProcessResult compared = await Qemu.RunAsync("qemu-img", "/", "compare", scene.Backup("last"), scene.Disk);
        Assert.True(compared.ExitCode == 0, compared.Output + compared.Error);
        await scene.AssertRestoresAsync("last");
    }

    /// <summary>A folder whose name is not UTF-8, as the current folder too.</summary>
    [Fact]
    public async Task TheCurrentFolderMayHaveAnyName()
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        // In the shell's words, as no argument of ours can have such bytes.
        ProcessResult result = await Qemu.RunAsync(
            "bash",
            folder.Path,
            "-ec",
            """
            here=$PWD/$'f\xff'; mkdir -p "$here/sub"; cd "$here"; t() { $TOOL "$@"; }
            t create -q -f qcow2 $'b\xfe' 1M; qemu-io -c 'write -P 5 0 1M' $'b\xfe' > /dev/null
            t chain snapshot $'b\xfe' sub/over; t chain snapshot $'b\xfe' $'over\xfd'
            t create -q -f qcow2 -o data_file=$'d\xfc' sub/data 1M
            t backup full $'b\xfe' backup --checkpoint c > /dev/null
            t backup incremental --ignore-overlays $'b\xfe' more --since c > /dev/null
            cd /; for i in sub/over $'over\xfd' more; do qemu-io -r -c 'read -P 5 0 1M' "$here/$i"; done
            qemu-io -r -c 'read -P 0 0 1M' "$here/sub/data"
            """.Replace("$TOOL", Tool.ShellCommand, StringComparison.Ordinal));
        Assert.True(result.ExitCode == 0 && !result.Output.Contains("failed", StringComparison.Ordinal), $"{result.Output}{result.Error}");
    }
}
