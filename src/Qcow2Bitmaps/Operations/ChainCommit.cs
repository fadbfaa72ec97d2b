using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Images.Naming;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Operations;

// Decisions: docs/decisions/operations.md.
/// <summary>Commits images: moves their data and bitmaps into an image below them.</summary>
/// <remarks>
/// <para>
/// The steps, each durable before the next: longer images above are marked; the base grows; images in between get empty copies of the
/// bitmaps that the base will get, from the top down, so that there is never a gap; the base gets the bits, in one atomic edit; the data
/// are copied; the image above is rebased to the base. A commit stopped at any point can be run again and completes correctly. At every
/// moment the guest sees the same data, and every bitmap that was valid is valid.
/// </para>
/// <para>
/// Each valid bitmap of the committed top is created in the base if it is absent there, and merged from every image that holds it.
/// Recording bitmaps of the base that are not part of a valid bitmap get the bits of everything that is committed, since nothing else
/// recorded it. If a bitmap of the committed images is not valid, but images above hold bits of it, it must not look valid without the
/// committed ones: it is created in the base, disabled, with the bits of everything that is committed. If the base cannot hold bitmaps, the
/// bitmap of the image above is disabled instead, all dirty. If the top is shorter than the base, the part of the base beyond the top's end
/// counts as changed, and reads as zeros for longer images above.
/// </para>
/// </remarks>
public sealed class ChainCommit : ChainOperation
{
    private readonly CommitScope _scope;

    internal ChainCommit(ImageChain chain, int top, int target, MergeOptions? options = null)
        : base(chain)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(top);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(top, target);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(target, chain.Layers.Count);
        _scope = new CommitScope(chain, top, target, options ?? new MergeOptions());
    }

    private protected override int TargetIndex => _scope.Target;

    private protected override IEnumerable<int> ExposedLayers =>
        Enumerable.Range(_scope.Top, _scope.Target - _scope.Top + 1).Where(index => index != _scope.Top || !_scope.Options.KeepsImages);

    /// <summary>Opens the chain of a commit.</summary>
    /// <param name="activePath">The top image of the whole chain.</param>
    /// <param name="options">Which images are committed where to, and how.</param>
    /// <param name="open">How the chain is opened; the defaults when null. Which images are writable follows from the commit.</param>
    /// <param name="isReadOnly">Whether it is only to be looked at or measured: then no image is opened for writing.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <exception cref="ImageLockedException">Another process uses one of the images in a way that excludes this.</exception>
    /// <exception cref="IOException">A file cannot be opened, is no image of the chain, or does not lie where it should.</exception>
    public static Task<ChainCommit> OpenAsync(
        string activePath, MergeOptions options, ChainOpenOptions? open = null, bool isReadOnly = false,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        return OpenAsync(activePath, open, isReadOnly, chain => Find(chain, options), cancellationToken);
    }

    /// <summary>Removes the images of a commit that was interrupted between its end and their removal.</summary>
    /// <param name="activePath">The top image of the whole chain.</param>
    /// <param name="options">Those of the commit, with <see cref="MergeOptions.BasePath"/>.</param>
    /// <param name="open">How chains are opened; the defaults when null.</param>
    /// <param name="cancellationToken">Ends the search.</param>
    /// <returns>
    /// What was removed, the lowest first; empty where this is no such commit, or the base does not read as the top does: then the
    /// commit is still to be done.
    /// </returns>
    /// <exception cref="InvalidOperationException"><see cref="MergeOptions.KeepsImages"/> is set.</exception>
    /// <exception cref="Qcow2Exception">An image is broken, in use, or refused.</exception>
    /// <exception cref="FileNotFoundException">The top does not exist under either name; the message describes what exists.</exception>
    /// <exception cref="IOException">A file cannot be opened or removed; or the top exists under both names, so that another image of its
    /// name was committed and not removed.</exception>
    public static async Task<IReadOnlyList<string>> RemoveRestAsync(
        string activePath, MergeOptions options, ChainOpenOptions? open = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentException.ThrowIfNullOrEmpty(options.BasePath, nameof(options));
        RequireRemoval(options);
        var remains = new CommitRemains(options.TopPath ?? activePath, options.BasePath, open ?? new ChainOpenOptions());
        IReadOnlyList<string> rest = await remains.FindAsync(activePath, cancellationToken).ConfigureAwait(false);
        foreach (string path in rest)
        {
            CommitRemains.Remove(path);
        }

        return rest;
    }

    /// <summary>
    /// Closes the chain and removes the committed images, of a symbolic link the link alone; those on block devices stay. The commit is
    /// done: what cannot be removed is told by <see cref="Leftovers"/>, and <see cref="RemoveRestAsync"/> removes it later.
    /// </summary>
    /// <returns>What was removed, the lowest first.</returns>
    /// <exception cref="InvalidOperationException"><see cref="ChainOperation.RunAsync"/> has not returned, or
    /// <see cref="MergeOptions.KeepsImages"/> is set; nothing is removed.</exception>
    /// <exception cref="SnapshotStateException">A committed image has internal snapshots, which would go with it; nothing is
    /// removed.</exception>
    public async Task<IReadOnlyList<string>> RemoveCommittedAsync()
    {
        RequireRun();
        RequireRemoval(_scope.Options);
        Operations.ChangedSnapshots.RequireNone(FindChangedSnapshots(), ", and would be removed with it; nothing was removed");
        IReadOnlyList<string> paths = CommitRemains.ToRemove(_scope.Committed);
        bool isMarked = !_scope.TopLayer.IsFixedSize;
        await DisposeAsync().ConfigureAwait(false);
        return CommitRemains.RemoveDone(paths, isMarked);
    }

    /// <summary>
    /// Empties the top image after a commit to the one below it, as <c>qemu-img commit</c> does: the guest sees the same. Its bitmaps stay
    /// as they are.
    /// </summary>
    /// <param name="cancellationToken">Cancels the work; data that remain in the image are also in the base.</param>
    /// <exception cref="InvalidOperationException"><see cref="ChainOperation.RunAsync"/> has not returned, or the base is not the image
    /// right below the active one: then an image between would show through. Nothing is written.</exception>
    /// <exception cref="IOException">A storage failed.</exception>
    public async Task EmptyTopAsync(CancellationToken cancellationToken = default)
    {
        RequireRun();
        if (_scope is not { Top: 0, Target: 1 })
        {
            throw new InvalidOperationException("Only the active image can be emptied, after a commit to the image right below it.");
        }

        GuestWriter writer = await Chain.OpenWriterAsync(0, marksWrites: false, cancellationToken).ConfigureAwait(false);
        await using (writer.ConfigureAwait(false))
        {
            await writer.EmptyAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    internal override ValueTask<IReadOnlyList<int>> FindWritableLayersAsync(CancellationToken cancellationToken) =>
        ValueTask.FromResult(_scope.WritableLayers);

    internal override ChainOperation On(ImageChain standIn, MeasureDepth depth) =>
        new ChainCommit(standIn, _scope.Top, _scope.Target, _scope.Options with { Rehearses = depth });

    /// <summary>Those of the committed images, as what lies below them changes. The base and the images above read the same.</summary>
    private protected override IEnumerable<ChangedSnapshots> FindChangedSnapshots() => Operations.ChangedSnapshots.Of(_scope.Committed);

    private protected override async Task<ChainResult> DoAsync(IProgress<OperationProgress>? progress, CancellationToken cancellationToken)
    {
        ChainDisk map = await Chain.OpenDataAsync(cancellationToken).ConfigureAwait(false);
        if (!_scope.Options.AcceptsLosses)
        {
            await RequireNoLossesAsync(cancellationToken).ConfigureAwait(false);
        }

        var data = new CommitData(_scope, map);
        await data.RequireNoneHiddenAsync(cancellationToken).ConfigureAwait(false);
        await SpaceCheck.RequireAsync(this, _scope.Target, _scope.NewSizeBytes, cancellationToken).ConfigureAwait(false);
        var bits = await CommitBits.JudgeAsync(_scope, map.From(_scope.Top), cancellationToken).ConfigureAwait(false);
        bits.RequireHolder();
        data.RequireGrowth();
        if (_scope.Top > 0)
        {
            await BackingChange.RequireRoomAsync(
                Above.Handle, _scope.StoredName, _scope.Base.Format, cancellationToken).ConfigureAwait(false);
        }

        await bits.MarkOverhangsAsync(cancellationToken).ConfigureAwait(false);
        await data.GrowAsync(cancellationToken).ConfigureAwait(false);
        await bits.StoreAsync(cancellationToken).ConfigureAwait(false);
        long copied = await data.CopyAsync(progress, cancellationToken).ConfigureAwait(false);
        await bits.InvalidateAboveAsync().ConfigureAwait(false);
        var result = new ChainResult(bits.Changes, copied)
        {
            Verdicts = await LaterChain.JudgeAsync(
                [.. _scope.Above, .. Chain.Layers.Skip(_scope.Target)], bits.Changes, cancellationToken).ConfigureAwait(false),
        };
        if (_scope.Top > 0)
        {
            string name = _scope.StoredName;
            await Above.SetBackingFileAsync(name, _scope.Base.Format, CancellationToken.None).ConfigureAwait(false);
            return result with { RebasedImage = Above.Name, BackingFile = name };
        }

        return result;
    }

    private static void RequireRemoval(MergeOptions options)
    {
        if (options.KeepsImages)
        {
            throw new InvalidOperationException($"The options of the commit keep the images ({nameof(MergeOptions.KeepsImages)}).");
        }
    }

    private void RequireRun()
    {
        if (!HasRun)
        {
            throw new InvalidOperationException($"The commit is not done: {nameof(RunAsync)} has not returned.");
        }
    }

    /// <summary>The image above the committed ones. Only where there is one.</summary>
    private Qcow2Image Above => Chain.Layers[_scope.Top - 1].RequireImage();

    private static ChainCommit Find(ImageChain chain, MergeOptions options)
    {
        int top = options.TopPath is null ? 0 : IndexOf(chain, options.TopPath);
        int target = options.BasePath is null ? top + 1 : IndexOf(chain, options.BasePath);
        return target >= chain.Layers.Count
            ? throw new Qcow2UnsupportedException(UnsupportedReason.NoBackingFile, $"'{chain.Layers[top].Path}' has no backing file")
            : target <= top ? throw IOException.Of($"'{options.BasePath}' does not lie below '{options.TopPath ?? chain.Layers[0].Path}'")
            : new ChainCommit(chain, top, target, options);
    }
}
