using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Images.Checking;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>Edits of several images take effect in all or in none, wherever they are stopped.</summary>
public sealed class BitmapEditSetTests : IDisposable
{
    private readonly TempFolder _folder = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task AllTakeEffectAndTheJournalIsGone()
    {
        await using var trial = new EditSetTrial(_folder);
        Qcow2Image[] images = await trial.OpenAsync();

        await EditSetTrial.SetOf(images).CommitAsync(cancellationToken: Token);

        Assert.Equal([["a", "new"], ["b"], ["first"]], images.Select(static image => image.Bitmaps.Select(static bitmap => bitmap.Name)));
        // 8 granules of 512 bytes from 4096 on are one of 4096; the next one is touched by another.
        Assert.Equal(5, (await images[0].Bitmaps.CountAsync("a", Token)).Bits);
        Assert.Empty(Directory.GetFiles(_folder.Path));
        foreach (ImageState state in await trial.ReadAsync())
        {
            Assert.True(state.IsSound && state.Check.Leaks == 0, state.ToString());
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public async Task OneRefusedStepLeavesAllAsTheyAre(int refusing)
    {
        await using var trial = new EditSetTrial(_folder);
        Qcow2Image[] images = await trial.OpenAsync();
        byte[][] before = trial.Bytes();
        var set = new BitmapEditSet();
        for (int i = 0; i < images.Length; i++)
        {
            set.Add(images[i], i == refusing ? static edit => edit.Add("x").Clear("nosuch") : static edit => edit.Add("x").Set("x", 0, 1));
        }

        await Assert.ThrowsAsync<BitmapStateException>(async () => await set.CommitAsync(cancellationToken: Token));

        Assert.Equal(before, trial.Bytes());
        Assert.Empty(Directory.GetFiles(_folder.Path));
        // The images can be edited afterwards.
        await EditSetTrial.SetOf(images).CommitAsync(cancellationToken: Token);
    }

    [Fact]
    public async Task NoSpaceInOneLeavesAllAsTheyAre()
    {
        await using var trial = new EditSetTrial(_folder);
        Qcow2Image[] images = await trial.OpenAsync(static (storage, i) => i == 2 ? new FixedSizeStorage(storage) : storage);
        byte[][] before = trial.Bytes();

        await Assert.ThrowsAsync<NoSpaceException>(async () => await EditSetTrial.SetOf(images).CommitAsync(cancellationToken: Token));

        Assert.Equal(before, trial.Bytes());
        Assert.Empty(Directory.GetFiles(_folder.Path));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public async Task OneImageThatFailsFromAWriteOnIsRecovered(int failing)
    {
        (ImageState[] before, ImageState[] after) = await BeforeAndAfterAsync();
        var outcomes = new HashSet<EditRecovery>();
        bool hasFailed = true;
        for (int n = 1; hasFailed; n++)
        {
            await using var trial = new EditSetTrial(_folder);
            FailingStorage? broken = null;
            Qcow2Image[] images = await trial.OpenAsync(
                (storage, i) => i == failing ? broken = new FailingStorage(storage) { FailingWrite = n, IsGoneAfterwards = true } : storage);
            Exception? error = await Record.ExceptionAsync(async () => await EditSetTrial.SetOf(images).CommitAsync(cancellationToken: Token));
            hasFailed = broken!.HasFailed;
            Assert.Equal(hasFailed, error is IOException);
            outcomes.Add(await RecoverAsync(trial, before, after, $"write {n} of image {failing}"));
        }

        Assert.Contains(EditRecovery.NothingToDo, outcomes);
        Assert.Equal(failing > 0, outcomes.Contains(EditRecovery.Finished));
    }

    [Fact]
    public async Task AProcessThatIsStoppedAtAnyWriteIsRecovered()
    {
        (ImageState[] before, ImageState[] after) = await BeforeAndAfterAsync();
        var outcomes = new HashSet<EditRecovery>();
        bool isStopped = true;
        for (int n = 1; isStopped; n++)
        {
            await using var trial = new EditSetTrial(_folder);
            isStopped = await StopAsync(trial, n);
            outcomes.Add(await RecoverAsync(trial, before, after, $"stopped at write {n}"));
        }

        Assert.Equal([EditRecovery.NothingToDo, EditRecovery.RolledBack, EditRecovery.Finished], outcomes.Order());
    }

    [Fact]
    public async Task ARecoveryThatIsStoppedAtAnyWriteIsRecoveredToo()
    {
        (_, ImageState[] after) = await BeforeAndAfterAsync();
        int begun = await WriteThatInterruptsAsync();
        bool isStopped = true;
        for (int n = 1; isStopped; n++)
        {
            await using var trial = new EditSetTrial(_folder);
            await StopAsync(trial, begun);
            var fuse = new Fuse(n);
            Qcow2Image[] images = await trial.OpenAsync((storage, _) => new FusedStorage(storage, fuse));
            Exception? error = await Record.ExceptionAsync(async () => await BitmapEditSet.RecoverAsync(trial.JournalPath, images, Token));
            isStopped = fuse.IsBlown;
            Assert.Equal(isStopped, error is IOException);

            EditRecovery outcome = await BitmapEditSet.RecoverAsync(trial.JournalPath, await trial.OpenAsync(), Token);

            Assert.Equal(isStopped ? EditRecovery.Finished : EditRecovery.NothingToDo, outcome);
            AssertSame(after, await trial.ReadAsync(), $"recovery stopped at write {n}");
        }
    }

    /// <summary>A journal has its name once it is whole: of one that is not nobody knows whether images were switched.</summary>
    [Fact]
    public async Task AJournalThatIsCutShortIsRefusedAndLeft()
    {
        await using var trial = new EditSetTrial(_folder);
        await StopAsync(trial, await WriteThatInterruptsAsync() - 1);
        byte[] journal = await File.ReadAllBytesAsync(trial.JournalPath, Token);
        byte[][] before = trial.Bytes();
        Qcow2Image[] images = await trial.OpenAsync();
        for (int length = 0; length < journal.Length; length++)
        {
            await File.WriteAllBytesAsync(trial.JournalPath, journal[..length], Token);
            await Assert.ThrowsAsync<IOException>(async () => await BitmapEditSet.RecoverAsync(trial.JournalPath, images, Token));
            Assert.Equal(journal[..length], await File.ReadAllBytesAsync(trial.JournalPath, Token));
        }

        await File.WriteAllBytesAsync(trial.JournalPath, journal, Token);
        Assert.Equal(EditRecovery.RolledBack, await BitmapEditSet.RecoverAsync(trial.JournalPath, images, Token));
        Assert.Empty(Directory.GetFiles(_folder.Path));
        Assert.Equal(before, trial.Bytes());
    }

    [Fact]
    public async Task AJournalNeedsAllImagesThatItNames()
    {
        (_, ImageState[] after) = await BeforeAndAfterAsync();
        await using var trial = new EditSetTrial(_folder);
        await StopAsync(trial, await WriteThatInterruptsAsync());
        Qcow2Image[] images = await trial.OpenAsync();
        byte[][] before = trial.Bytes();
        for (int i = 0; i < images.Length; i++)
        {
            IOException refusal = await Assert.ThrowsAsync<IOException>(
                async () => await BitmapEditSet.RecoverAsync(trial.JournalPath, [.. images.Where((_, other) => other != i)], Token));
            Assert.Contains($"'{images[i].Name}': it is needed to finish the edit and was not given", refusal.Message, StringComparison.Ordinal);
            Assert.Equal([trial.JournalPath], Directory.GetFiles(_folder.Path));
            Assert.Equal(before, trial.Bytes());
        }

        Assert.Equal(EditRecovery.Finished, await BitmapEditSet.RecoverAsync(trial.JournalPath, images, Token));
        AssertSame(after, await trial.ReadAsync(), "given all");
        Assert.Equal(["a", "new"], images[0].Bitmaps.Select(static bitmap => bitmap.Name));
    }

    [Fact]
    public async Task TheNextCommitRecoversFirst()
    {
        await using var trial = new EditSetTrial(_folder);
        await StopAsync(trial, await WriteThatInterruptsAsync());
        Qcow2Image[] images = await trial.OpenAsync();
        var next = new BitmapEditSet();
        foreach (Qcow2Image image in images)
        {
            next.Add(image, static edit => edit.Add("next"));
        }

        await next.CommitAsync(cancellationToken: Token);

        Assert.Equal([["a", "new", "next"], ["b", "next"], ["first", "next"]], images.Select(static image => image.Bitmaps.Select(static bitmap => bitmap.Name)));
        Assert.Empty(Directory.GetFiles(_folder.Path));
        Assert.All(await trial.ReadAsync(), static state => Assert.True(state.IsSound, state.ToString()));
    }

    [Theory]
    [InlineData(0, "its header was changed since")]
    [InlineData(1, "its header was changed since")]
    [InlineData(2, "it was written since")]
    public async Task AnImageThatWasWrittenInBetweenIsNotSwitched(int written, string reason)
    {
        Qemu.Require();
        int begun = await WriteThatInterruptsAsync();
        await using var trial = new EditSetTrial(_folder);
        var fuse = new Fuse(begun);
        string[] paths = [.. trial.Storages.Select(storage => _folder.Write(Path.GetFileName(storage.Name), storage.ToArray()))];
        Qcow2Image[] images = await OpenFilesAsync(paths, fuse);
        await Assert.ThrowsAnyAsync<IOException>(async () => await EditSetTrial.SetOf(images).CommitAsync(cancellationToken: Token));
        await DisposeAsync(images);
        byte[] journal = await File.ReadAllBytesAsync(trial.JournalPath, Token);
        // An image with bitmaps is rewritten by every program of QEMU's; the last one has none yet.
        await new QemuNode(paths[written]).WriteAsync(1 << 20, 65_536);
        byte[][] before = [.. paths.Select(File.ReadAllBytes)];
        images = await OpenFilesAsync(paths, new Fuse(0));

        IOException refusal = await Assert.ThrowsAsync<IOException>(async () => await BitmapEditSet.RecoverAsync(trial.JournalPath, images, Token));

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
        (_, ImageState[] after) = await BeforeAndAfterAsync();
        int begun = await WriteThatInterruptsAsync();
        await using var trial = new EditSetTrial(_folder);
        string[] paths = [.. trial.Storages.Select(storage => _folder.Write(Path.GetFileName(storage.Name), storage.ToArray()))];
        Qcow2Image[] images = await OpenFilesAsync(paths, new Fuse(begun));
        await Assert.ThrowsAnyAsync<IOException>(async () => await EditSetTrial.SetOf(images).CommitAsync(cancellationToken: Token));
        await DisposeAsync(images);
        images = await OpenFilesAsync(paths, new Fuse(0));

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
        (_, ImageState[] after) = await BeforeAndAfterAsync();
        (EditSetTrial trial, string[] paths) = await InterruptFilesAsync();
        await using EditSetTrial disposed = trial;
        byte[][] before = [.. paths.Select(File.ReadAllBytes)];
        await using (Qcow2Image image = await Qcow2Image.OpenAsync(paths[0], StorageAccess.ReadWrite, cancellationToken: Token))
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

    /// <summary>What was prepared looks like leaks until the switch. Where no time of change tells, as on block devices, the counts do.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task AnImageWhosePreparedClustersWereFreedIsNotSwitched(int freed)
    {
        int begun = await WriteThatInterruptsAsync();
        await using var trial = new EditSetTrial(_folder);
        await StopAsync(trial, begun);
        // Where discards do nothing, all bytes are still there.
        var noDiscards = new FailingStorage(trial.Storages[freed]) { FailsDiscards = true };
        await using (Qcow2Image image = await Qcow2Image.OpenAsync(noDiscards, leaveOpen: true, cancellationToken: Token))
        {
            CheckReport repaired = await image.RepairAsync(RepairKinds.Leaks, Token);
            Assert.True(repaired.LeaksFixed > 0);
        }

        byte[][] before = trial.Bytes();

        IOException refusal = await Assert.ThrowsAsync<IOException>(
            async () => await BitmapEditSet.RecoverAsync(trial.JournalPath, await trial.OpenAsync(), Token));

        Assert.Contains($"'{trial.Storages[freed].Name}': what was prepared for it was freed since", refusal.Message, StringComparison.Ordinal);
        Assert.Equal(before, trial.Bytes());
        Assert.Equal([trial.JournalPath], Directory.GetFiles(_folder.Path));
    }

    /// <summary>One storage that fails for good does not keep the others from being taken back.</summary>
    [Fact]
    public async Task WhereOneImageCannotBeRolledBackTheOthersAre()
    {
        Exception? error = null;
        for (int n = 1; error is not BitmapStateException; n++)
        {
            await using var trial = new EditSetTrial(_folder);
            var fuse = new Fuse(n);
            Qcow2Image[] images = await trial.OpenAsync((storage, i) => i == 0 ? new FusedStorage(storage, fuse) : storage);
            byte[] before = trial.Storages[1].ToArray();
            BitmapEditSet set = new BitmapEditSet()
                .Add(images[0], static edit => edit.Add("x").Set("x", 0, 1))
                .Add(images[1], static edit => edit.Add("x").Set("x", 0, 1))
                .Add(images[2], static edit => edit.Clear("nosuch"));

            error = await Record.ExceptionAsync(async () => await set.CommitAsync(cancellationToken: Token));

            Assert.Equal(fuse.IsBlown, error is IOException and not Qcow2Exception);
            Assert.Equal(before, trial.Storages[1].ToArray());
        }
    }

    [Fact]
    public async Task ASetOfOneImageOrOfNothingNeedsNoJournal()
    {
        await using var trial = new EditSetTrial(_folder);
        Qcow2Image[] images = await trial.OpenAsync();
        // A folder that is not there could hold no journal.
        string nowhere = _folder.File("nowhere/journal");

        await new BitmapEditSet().CommitAsync(nowhere, Token);
        await new BitmapEditSet().Add(images[0], static edit => edit.Add("x")).Add(images[1], static edit => edit.Enable("a")).CommitAsync(_folder.File("journal"), Token);

        Assert.Equal(["a", "x"], images[0].Bitmaps.Select(static bitmap => bitmap.Name));
        Assert.Throws<ArgumentException>(() => new BitmapEditSet().Add(images[0], static _ => { }).Add(images[0], static _ => { }));
    }

    /// <summary>Files of which the first is switched, with the journal beside it.</summary>
    private async Task<(EditSetTrial Trial, string[] Paths)> InterruptFilesAsync()
    {
        int begun = await WriteThatInterruptsAsync();
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
            images.Add(await Qcow2Image.OpenAsync(new FusedStorage(FileStorage.Open(path, StorageAccess.ReadWrite, ImageLock.Write), fuse), cancellationToken: Token));
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

    /// <summary>Commits until a write, counted over all images, and stops there for good.</summary>
    private static async Task<bool> StopAsync(EditSetTrial trial, int write)
    {
        var fuse = new Fuse(write);
        Qcow2Image[] images = await trial.OpenAsync((storage, _) => new FusedStorage(storage, fuse));
        Exception? error = await Record.ExceptionAsync(async () => await EditSetTrial.SetOf(images).CommitAsync(cancellationToken: Token));
        Assert.Equal(fuse.IsBlown, error is IOException);
        return fuse.IsBlown;
    }

    private static void AssertSame(ImageState[] expected, ImageState[] actual, string context)
    {
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.True(actual[i].IsSound && actual[i].IsSameAs(expected[i]), $"{context}: image {i} is\n{actual[i]}and should be\n{expected[i]}");
        }
    }

    /// <summary>Recovers with storages that work again: all images are as before, or all as after.</summary>
    private async Task<EditRecovery> RecoverAsync(EditSetTrial trial, ImageState[] before, ImageState[] after, string context)
    {
        EditRecovery outcome = await BitmapEditSet.RecoverAsync(trial.JournalPath, await trial.OpenAsync(), Token);
        ImageState[] states = await trial.ReadAsync();
        bool isAfter = outcome == EditRecovery.Finished || (outcome == EditRecovery.NothingToDo && states[0].IsSameAs(after[0]));
        AssertSame(isAfter ? after : before, states, $"{context}: {outcome}");
        Assert.Empty(Directory.GetFiles(_folder.Path));
        return outcome;
    }

    private async Task<(ImageState[] Before, ImageState[] After)> BeforeAndAfterAsync()
    {
        await using var trial = new EditSetTrial(_folder);
        ImageState[] before = await trial.ReadAsync();
        await EditSetTrial.SetOf(await trial.OpenAsync()).CommitAsync(cancellationToken: Token);
        return (before, await trial.ReadAsync());
    }

    /// <summary>The write, counted over all images, that is the first one of the second image's switch: only the first image is switched.</summary>
    private async Task<int> WriteThatInterruptsAsync()
    {
        for (int n = 1; ; n++)
        {
            await using var trial = new EditSetTrial(_folder);
            Assert.True(await StopAsync(trial, n));
            EditRecovery outcome = await BitmapEditSet.RecoverAsync(trial.JournalPath, await trial.OpenAsync(), Token);
            if (outcome == EditRecovery.Finished)
            {
                return n;
            }
        }
    }
}
