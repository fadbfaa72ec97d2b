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
        (ImageState[] before, ImageState[] after) = await EditSetTrial.BeforeAndAfterAsync(_folder);
        var outcomes = new HashSet<EditRecovery>();
        bool hasFailed = true;
        for (int n = 1; hasFailed; n++)
        {
            await using var trial = new EditSetTrial(_folder);
            FailingStorage? broken = null;
            Qcow2Image[] images = await trial.OpenAsync(
                (storage, i) =>
                    i == failing ? broken = new FailingStorage(storage) { FailingWrite = n, IsGoneAfterwards = true } : storage);
            Exception? error = await Record.ExceptionAsync(
                async () => await EditSetTrial.SetOf(images).CommitAsync(cancellationToken: Token));
            hasFailed = broken!.HasFailed;
            Assert.True(error is null || (hasFailed && error is IOException), error?.ToString());
            if (error is null)
            {
                // It may have failed behind the last switch.
                EditSetTrial.AssertSame(after, await trial.ReadAsync(), $"write {n} of image {failing}");
            }

            outcomes.Add(await RecoverAsync(trial, before, after, $"write {n} of image {failing}"));
        }

        Assert.Contains(EditRecovery.NothingToDo, outcomes);
        Assert.Equal(failing > 0, outcomes.Contains(EditRecovery.Finished));
    }

    [Fact]
    public async Task AProcessThatIsStoppedAtAnyWriteIsRecovered()
    {
        (ImageState[] before, ImageState[] after) = await EditSetTrial.BeforeAndAfterAsync(_folder);
        var outcomes = new HashSet<EditRecovery>();
        bool isStopped = true;
        for (int n = 1; isStopped; n++)
        {
            await using var trial = new EditSetTrial(_folder);
            isStopped = await trial.StopAsync(n);
            outcomes.Add(await RecoverAsync(trial, before, after, $"stopped at write {n}"));
        }

        Assert.Equal([EditRecovery.NothingToDo, EditRecovery.RolledBack, EditRecovery.Finished], outcomes.Order());
    }

    [Fact]
    public async Task ARecoveryThatIsStoppedAtAnyWriteIsRecoveredToo()
    {
        (_, ImageState[] after) = await EditSetTrial.BeforeAndAfterAsync(_folder);
        int begun = await EditSetTrial.WriteThatInterruptsAsync(_folder);
        bool isStopped = true;
        for (int n = 1; isStopped; n++)
        {
            await using var trial = new EditSetTrial(_folder);
            await trial.StopAsync(begun);
            var fuse = new Fuse(n);
            Qcow2Image[] images = await trial.OpenAsync((storage, _) => new FusedStorage(storage, fuse));
            Exception? error = await Record.ExceptionAsync(async () => await BitmapEditSet.RecoverAsync(trial.JournalPath, images, Token));
            isStopped = fuse.IsBlown;
            Assert.Equal(isStopped, error is IOException);

            EditRecovery outcome = await BitmapEditSet.RecoverAsync(trial.JournalPath, await trial.OpenAsync(), Token);

            Assert.Equal(isStopped ? EditRecovery.Finished : EditRecovery.NothingToDo, outcome);
            EditSetTrial.AssertSame(after, await trial.ReadAsync(), $"recovery stopped at write {n}");
        }
    }

    /// <summary>A journal has its name once it is whole: of one that is not nobody knows whether images were switched.</summary>
    [Fact]
    public async Task AJournalThatIsCutShortIsRefusedAndLeft()
    {
        await using var trial = new EditSetTrial(_folder);
        await trial.StopAsync(await EditSetTrial.WriteThatInterruptsAsync(_folder) - 1);
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
        (_, ImageState[] after) = await EditSetTrial.BeforeAndAfterAsync(_folder);
        await using var trial = new EditSetTrial(_folder);
        await trial.StopAsync(await EditSetTrial.WriteThatInterruptsAsync(_folder));
        Qcow2Image[] images = await trial.OpenAsync();
        byte[][] before = trial.Bytes();
        for (int i = 0; i < images.Length; i++)
        {
            IOException refusal = await Assert.ThrowsAsync<IOException>(
                async () => await BitmapEditSet.RecoverAsync(trial.JournalPath, [.. images.Where((_, other) => other != i)], Token));
            Assert.Contains(
                $"'{images[i].Name}': it is needed to finish the edit and was not given", refusal.Message, StringComparison.Ordinal);
            Assert.Equal([trial.JournalPath], Directory.GetFiles(_folder.Path));
            Assert.Equal(before, trial.Bytes());
        }

        Assert.Equal(EditRecovery.Finished, await BitmapEditSet.RecoverAsync(trial.JournalPath, images, Token));
        EditSetTrial.AssertSame(after, await trial.ReadAsync(), "given all");
        Assert.Equal(["a", "new"], images[0].Bitmaps.Select(static bitmap => bitmap.Name));
    }

    [Fact]
    public async Task TheNextCommitRecoversFirst()
    {
        await using var trial = new EditSetTrial(_folder);
        await trial.StopAsync(await EditSetTrial.WriteThatInterruptsAsync(_folder));
        Qcow2Image[] images = await trial.OpenAsync();
        var next = new BitmapEditSet();
        foreach (Qcow2Image image in images)
        {
            next.Add(image, static edit => edit.Add("next"));
        }

        await next.CommitAsync(cancellationToken: Token);

        Assert.Equal(
            [["a", "new", "next"], ["b", "next"], ["first", "next"]],
            images.Select(static image => image.Bitmaps.Select(static bitmap => bitmap.Name)));
        Assert.Empty(Directory.GetFiles(_folder.Path));
        Assert.All(await trial.ReadAsync(), static state => Assert.True(state.IsSound, state.ToString()));
    }

    /// <summary>
    /// What was prepared looks like leaks until the switch. Where no time of change tells, as on block devices, the counts do.
    /// </summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task AnImageWhosePreparedClustersWereFreedIsNotSwitched(int freed)
    {
        int begun = await EditSetTrial.WriteThatInterruptsAsync(_folder);
        await using var trial = new EditSetTrial(_folder);
        await trial.StopAsync(begun);
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

        Assert.Contains(
            $"'{trial.Storages[freed].Name}': what was prepared for it was freed since", refusal.Message, StringComparison.Ordinal);
        Assert.Equal(before, trial.Bytes());
        Assert.Equal([trial.JournalPath], Directory.GetFiles(_folder.Path));
    }

    /// <summary>One storage that fails for good does not keep the others from being taken back.</summary>
    [Fact]
    public async Task WhereOneImageCannotBeRolledBackTheOthersAre()
    {
        bool isBlown = true;
        int refused = 0;
        for (int n = 1; isBlown; n++)
        {
            await using var trial = new EditSetTrial(_folder);
            var fuse = new Fuse(n);
            Qcow2Image[] images = await trial.OpenAsync((storage, i) => i == 0 ? new FusedStorage(storage, fuse) : storage);
            byte[] before = trial.Storages[1].ToArray();
            BitmapEditSet set = new BitmapEditSet()
                .Add(images[0], static edit => edit.Add("x").Set("x", 0, 1))
                .Add(images[1], static edit => edit.Add("x").Set("x", 0, 1))
                .Add(images[2], static edit => edit.Clear("nosuch"));

            Exception? error = await Record.ExceptionAsync(async () => await set.CommitAsync(cancellationToken: Token));
            isBlown = fuse.IsBlown;

            // What fails when preparations are taken back does not hide why.
            Assert.True(error is BitmapStateException || (isBlown && error is IOException), error?.ToString());
            Assert.Equal(before, trial.Storages[1].ToArray());
            refused += isBlown && error is BitmapStateException ? 1 : 0;
        }

        Assert.True(refused > 0);
    }

    [Fact]
    public async Task ASetOfOneImageOrOfNothingNeedsNoJournal()
    {
        await using var trial = new EditSetTrial(_folder);
        Qcow2Image[] images = await trial.OpenAsync();
        // A folder that is not there could hold no journal.
        string nowhere = _folder.File("nowhere/journal");

        await new BitmapEditSet().CommitAsync(nowhere, Token);
        await new BitmapEditSet().Add(images[0], static edit => edit.Add("x"))
            .Add(images[1], static edit => edit.Enable("a"))
            .CommitAsync(_folder.File("journal"), Token);

        Assert.Equal(["a", "x"], images[0].Bitmaps.Select(static bitmap => bitmap.Name));
        Assert.Throws<ArgumentException>(() => new BitmapEditSet().Add(images[0], static _ => { }).Add(images[0], static _ => { }));
    }

    /// <summary>Recovers with storages that work again: all images are as before, or all as after.</summary>
    private async Task<EditRecovery> RecoverAsync(EditSetTrial trial, ImageState[] before, ImageState[] after, string context)
    {
        EditRecovery outcome = await BitmapEditSet.RecoverAsync(trial.JournalPath, await trial.OpenAsync(), Token);
        ImageState[] states = await trial.ReadAsync();
        bool isAfter = outcome == EditRecovery.Finished || (outcome == EditRecovery.NothingToDo && states[0].IsSameAs(after[0]));
        EditSetTrial.AssertSame(isAfter ? after : before, states, $"{context}: {outcome}");
        Assert.Empty(Directory.GetFiles(_folder.Path));
        return outcome;
    }
}
