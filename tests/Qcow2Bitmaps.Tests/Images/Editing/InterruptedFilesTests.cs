using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>An edit of several files was interrupted, and its journal stands beside them: who may go on, and who may not.</summary>
public sealed class InterruptedFilesTests : IDisposable
{
    private readonly TempFolder _folder = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(0, "its header was changed since")]
    [InlineData(1, "its header was changed since")]
    [InlineData(2, "it was written since")]
    public async Task AnImageThatWasWrittenInBetweenIsNotSwitched(int written, string reason)
    {
        Qemu.Require();
        (EditSetTrial trial, string[] paths) = await InterruptFilesAsync();
        await using EditSetTrial disposed = trial;
        byte[] journal = await File.ReadAllBytesAsync(trial.JournalPath, Token);
        // An image with bitmaps is rewritten by every program of QEMU's; the last one has none yet.
        await new QemuNode(paths[written]).WriteAsync(1 << 20, 65_536);
        byte[][] before = [.. paths.Select(File.ReadAllBytes)];
        Qcow2Image[] images = await OpenFilesAsync(paths, new Fuse(0));

        IOException refusal = await Assert.ThrowsAsync<IOException>(
            async () => await BitmapEditSet.RecoverAsync(trial.JournalPath, images, Token));

        Assert.Contains($"'{paths[written]}': {reason}. Nothing was changed.", refusal.Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<IOException>(async () => await EditSetTrial.SetOf(images).CommitAsync(cancellationToken: Token));
        await DisposeAsync(images);
        Assert.Equal(before, paths.Select(File.ReadAllBytes));
        Assert.Equal(journal, await File.ReadAllBytesAsync(trial.JournalPath, Token));
    }

    [Fact]
    public async Task FilesAreRecoveredWhenNobodyWroteThem()
    {
        Qemu.Require();
        (_, ImageState[] after) = await EditSetTrial.BeforeAndAfterAsync(_folder);
        (EditSetTrial trial, string[] paths) = await InterruptFilesAsync();
        await using EditSetTrial disposed = trial;
        Qcow2Image[] images = await OpenFilesAsync(paths, new Fuse(0));

        Assert.Equal(EditRecovery.Finished, await BitmapEditSet.RecoverAsync(trial.JournalPath, images, Token));

        await DisposeAsync(images);
        for (int i = 0; i < paths.Length; i++)
        {
            ImageState state = await ImageState.ReadAsync(await File.ReadAllBytesAsync(paths[i], Token));
            Assert.True(state.IsSound && state.IsSameAs(after[i]), state.ToString());
            await QemuOpinion.AssertAgreesAsync(paths[i], state, "recovered");
        }
    }

    /// <summary>An edit, by the library or by the tool, would make the journal one that cannot be finished.</summary>
    [Fact]
    public async Task AnImageWithAJournalIsNotEditedBeforeThatIsFinished()
    {
        (_, ImageState[] after) = await EditSetTrial.BeforeAndAfterAsync(_folder);
        (EditSetTrial trial, string[] paths) = await InterruptFilesAsync();
        await using EditSetTrial disposed = trial;
        byte[][] before = [.. paths.Select(File.ReadAllBytes)];
        await using (Qcow2Image image = await Qcow2Image.OpenAsync(paths[0], FileAccess.ReadWrite, cancellationToken: Token))
        {
            Qcow2UnsupportedException refusal = await Assert.ThrowsAsync<Qcow2UnsupportedException>(
                async () => await image.Bitmaps.EditAsync(static edit => edit.Add("x"), Token));
            Assert.Equal(UnsupportedReason.InterruptedEdit, refusal.Reason);
        }

        ProcessResult tool = await Support.Cli.RunAsync("bitmap", "--add", paths[0], "x");
        Assert.Equal(1, tool.ExitCode);
        Assert.Contains($"'{trial.JournalPath}'", tool.Error, StringComparison.Ordinal);
        ProcessResult partly = await Support.Cli.RunAsync("bitmap", "--recover", paths[0], paths[1]);
        Assert.Equal(1, partly.ExitCode);
        Assert.Contains($"'{paths[2]}': it is needed to finish the edit", partly.Error, StringComparison.Ordinal);
        Assert.Equal(before, paths.Select(File.ReadAllBytes));

        ProcessResult recovered = await Support.Cli.RunAsync(["bitmap", "--recover", .. paths]);

        Assert.Equal((0, "The edit was finished.\n"), (recovered.ExitCode, recovered.Output));
        for (int i = 0; i < paths.Length; i++)
        {
            Assert.True((await ImageState.ReadAsync(await File.ReadAllBytesAsync(paths[i], Token))).IsSameAs(after[i]));
        }

        Assert.Equal("No edit was interrupted.\n", (await Support.Cli.RunAsync(["bitmap", "--recover", .. paths])).Output);
        Assert.Equal(0, (await Support.Cli.RunAsync("bitmap", "--add", paths[0], "x")).ExitCode);
    }

    /// <summary>Both change what the journal needs: the first cluster, or what was prepared, which looks like leaks.</summary>
    [Theory]
    [InlineData(null)]
    [InlineData(RepairKinds.Leaks)]
    [InlineData(RepairKinds.All)]
    [InlineData(RepairKinds.Bitmaps)]
    public async Task AnImageWithAJournalIsNotRepairedNorRebasedBeforeThatIsFinished(RepairKinds? kinds)
    {
        (EditSetTrial trial, string[] paths) = await InterruptFilesAsync();
        await using EditSetTrial disposed = trial;
        byte[] before = await File.ReadAllBytesAsync(paths[0], Token);
        await using (Qcow2Image image = await Qcow2Image.OpenAsync(paths[0], FileAccess.ReadWrite, cancellationToken: Token))
        {
            Qcow2UnsupportedException refusal = await Assert.ThrowsAsync<Qcow2UnsupportedException>(
                async () => await (kinds is { } repair
                    ? image.RepairAsync(repair, Token)
                    : image.SetBackingFileAsync("other.qcow2", "qcow2", Token)));
            Assert.Equal(UnsupportedReason.InterruptedEdit, refusal.Reason);
        }

        Assert.Equal(before, await File.ReadAllBytesAsync(paths[0], Token));
        ProcessResult recovered = await Support.Cli.RunAsync(["bitmap", "--recover", .. paths]);
        Assert.Equal((0, "The edit was finished.\n"), (recovered.ExitCode, recovered.Output));
        Assert.Equal(0, (await Support.Cli.RunAsync("check", "-r", "all", paths[0])).ExitCode);
    }

    /// <summary>A writer takes the clusters that the edit has prepared, and a session marks bitmaps as in use.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task AnImageWithAJournalIsNotWrittenNorRecordedBeforeThatIsFinished(bool isRecorded)
    {
        (EditSetTrial trial, string[] paths) = await InterruptFilesAsync();
        await using EditSetTrial disposed = trial;
        byte[] before = await File.ReadAllBytesAsync(paths[0], Token);
        await using (ImageChain chain = await ImageChain.OpenAsync(
            paths[0], ChainOpenOptions.Default with { WritableLayers = [0] }, Token))
        {
            Qcow2UnsupportedException refusal = await Assert.ThrowsAsync<Qcow2UnsupportedException>(
                async () => await (isRecorded
                    ? RecordingSession.OpenAsync(chain, leaveOpen: true, cancellationToken: Token)
                    : (Task)chain.OpenWriterAsync(Token)));
            Assert.Equal(UnsupportedReason.InterruptedEdit, refusal.Reason);
        }

        Assert.Equal(before, await File.ReadAllBytesAsync(paths[0], Token));
        ProcessResult recovered = await Support.Cli.RunAsync(["bitmap", "--recover", .. paths]);
        Assert.Equal((0, "The edit was finished.\n"), (recovered.ExitCode, recovered.Output));
    }

    /// <summary>Files of which the first is switched, with the journal beside it.</summary>
    private async Task<(EditSetTrial Trial, string[] Paths)> InterruptFilesAsync()
    {
        int begun = await EditSetTrial.WriteThatInterruptsAsync(_folder);
        var trial = new EditSetTrial(_folder);
        string[] paths = [.. trial.Storages.Select(storage => _folder.Write(Path.GetFileName(storage.Name), storage.ToArray()))];
        Qcow2Image[] images = await OpenFilesAsync(paths, new Fuse(begun));
        await Assert.ThrowsAnyAsync<IOException>(async () => await EditSetTrial.SetOf(images).CommitAsync(cancellationToken: Token));
        await DisposeAsync(images);
        return (trial, paths);
    }

    private static async Task<Qcow2Image[]> OpenFilesAsync(string[] paths, Fuse fuse)
    {
        var images = new List<Qcow2Image>();
        foreach (string path in paths)
        {
            images.Add(
                await Qcow2Image.OpenAsync(
                    new FusedStorage(FileStorage.Open(path, FileAccess.ReadWrite, ImageLock.Write), fuse), cancellationToken: Token));
        }

        return [.. images];
    }

    private static async Task DisposeAsync(Qcow2Image[] images)
    {
        foreach (Qcow2Image image in images)
        {
            await image.DisposeAsync();
        }
    }
}
