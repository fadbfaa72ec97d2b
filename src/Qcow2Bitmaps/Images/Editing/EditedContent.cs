using System.Runtime.CompilerServices;
using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;

namespace Qcow2Bitmaps.Images.Editing;

/// <summary>
/// The bits of a bitmap at one point of an edit: the stored bits, or none, and the changes up to then. Pages are read on demand.
/// </summary>
internal sealed class EditedContent : IBitmapPages
{
    private readonly BitmapGeometry _geometry;
    private readonly PersistentBitmap? _stored;
    private readonly List<IContentChange> _changes;
    private readonly int? _changeCount;
    private readonly EditedContent? _origin;
    private PageBuffer _buffer = new();
    private PersistentBitmap? _written;

    // Frozen content may be merged many times, also indirectly; without caching the last page, time would double with each merge.
    private (int Page, BitmapPageKind Kind)? _lastKind;
    private (int Page, ulong[] Words)? _lastPage;

    /// <summary>Starts with what is stored, or with nothing.</summary>
    public EditedContent(BitmapGeometry geometry, PersistentBitmap? stored)
        : this(geometry, stored, [], null, null)
    {
    }

    private EditedContent(
        BitmapGeometry geometry, PersistentBitmap? stored, List<IContentChange> changes, int? changeCount, EditedContent? origin)
    {
        _origin = origin;
        _geometry = geometry;
        _stored = stored;
        _changes = changes;
        _changeCount = changeCount;
    }

    public long SizeBytes => _geometry.SizeBytes;

    public int GranularityBits => _geometry.GranularityBits;

    public int PageShift => _geometry.PageShift;

    private int ChangeCount => _changeCount ?? _changes.Count;

    private bool IsFrozen { get; set; }

    /// <summary>The written form of this frozen content, if it was written without changes in between.</summary>
    private PersistentBitmap? Written => _changes.Count == _changeCount ? _origin?._written : null;

    private bool KeepsLastPage =>
        _changeCount is not null && _changes.Take(ChangeCount).Any(static change => change is MergeChange { IsOfSameEdit: true });

    /// <summary>A snapshot of this content, unaffected by later changes.</summary>
    public EditedContent Freeze()
    {
        IsFrozen = true;
        return new EditedContent(_geometry, _stored, _changes, _changes.Count, this);
    }

    /// <summary>Records that the content was written unchanged: its snapshots are then read from there.</summary>
    public void SetWritten(PersistentBitmap written)
    {
        _written = written;
        _buffer = new PageBuffer();
    }

    public void Merge(IBitmapPages source) => Add(new MergeChange(source));

    /// <summary>Sets or clears bits.</summary>
    public void Fill(long firstBit, long endBit, bool value)
    {
        if (firstBit >= endBit)
        {
            return;
        }

        if (IsFrozen || _changes.Count == 0 || _changes[^1] is not RangesChange last || last.Value != value)
        {
            Add(last = new RangesChange(value));
        }

        last.Add(firstBit, endBit);
    }

    public BitmapPageKind KindOf(int page)
    {
        if (Written is { } written)
        {
            return written.KindOf(page);
        }

        if (_lastKind is { } last && last.Page == page)
        {
            return last.Kind;
        }

        if (!RuntimeHelpers.TryEnsureSufficientExecutionStack())
        {
            // Bitmaps merged into one another alternately, thousands of times: reading the bits gives the exact answer.
            return BitmapPageKind.Bits;
        }

        BitmapPageKind kind = FindKind(page);
        _lastKind = _changeCount is null ? null : (page, kind);
        return kind;
    }

    private BitmapPageKind FindKind(int page)
    {
        PageMerge.Piece piece = _geometry.PieceOf(page);
        BitmapPageKind kind = _stored?.KindOf(page) ?? BitmapPageKind.AllClean;
        for (int i = 0; i < ChangeCount; i++)
        {
            kind = (_changes[i].EffectOn(piece, SizeBytes), kind) switch
            {
                (PageEffect.None, _) => kind,
                (PageEffect.MakesClean, _) or (PageEffect.TakesBits, BitmapPageKind.AllClean) => BitmapPageKind.AllClean,
                (PageEffect.MakesDirty, _) or (PageEffect.AddsBits, BitmapPageKind.AllDirty) => BitmapPageKind.AllDirty,
                _ => BitmapPageKind.Bits,
            };
        }

        return kind;
    }

    /// <summary>The entry of the stored table, if it is still valid for the page.</summary>
    public BitmapTableEntry? KeptEntry(int page)
    {
        if (_stored is null || !_stored.IsWhole(page))
        {
            return null;
        }

        PageMerge.Piece piece = _geometry.PieceOf(page);
        for (int i = 0; i < ChangeCount; i++)
        {
            if (_changes[i].EffectOn(piece, SizeBytes) != PageEffect.None)
            {
                return null;
            }
        }

        return _stored.EntryOf(page);
    }

    public async ValueTask ReadPageAsync(int page, Memory<ulong> words, CancellationToken cancellationToken)
    {
        if (Written is { } written && written.KindOf(page) == BitmapPageKind.Bits)
        {
            await written.ReadPageAsync(page, words, cancellationToken).ConfigureAwait(false);
            return;
        }

        if (_lastPage is { } last && last.Page == page)
        {
            last.Words.AsMemory(0, words.Length).CopyTo(words);
            return;
        }

        if (RuntimeHelpers.TryEnsureSufficientExecutionStack())
        {
            await MakePageAsync(page, words, cancellationToken).ConfigureAwait(false);
        }
        else
        {
            // Continues on a new stack.
            await Task.Run(
                async () => await MakePageAsync(page, words, cancellationToken).ConfigureAwait(false),
                cancellationToken).ConfigureAwait(false);
        }

        if (KeepsLastPage)
        {
            ulong[] kept = _lastPage?.Words ?? new ulong[_geometry.WordsIn(0)];
            words.CopyTo(kept);
            _lastPage = (page, kept);
        }
    }

    private async ValueTask MakePageAsync(int page, Memory<ulong> words, CancellationToken cancellationToken)
    {
        PageMerge.Piece piece = _geometry.PieceOf(page);
        int next = await StartPageAsync(page, piece, words, cancellationToken).ConfigureAwait(false);
        for (; next < ChangeCount; next++)
        {
            if (_changes[next].EffectOn(piece, SizeBytes) != PageEffect.None)
            {
                await _changes[next].ApplyAsync(piece, words, SizeBytes, _buffer, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Starts a page with the last change that makes it uniform; with the stored page if there is none.</summary>
    /// <returns>The index of the first change that is not applied yet.</returns>
    private async ValueTask<int> StartPageAsync(int page, PageMerge.Piece piece, Memory<ulong> words, CancellationToken cancellationToken)
    {
        BitmapPageKind kind = BitmapPageKind.AllClean;
        int next = ChangeCount;
        for (; next > 0; next--)
        {
            PageEffect effect = _changes[next - 1].EffectOn(piece, SizeBytes);
            if (effect is PageEffect.MakesClean or PageEffect.MakesDirty)
            {
                kind = effect == PageEffect.MakesDirty ? BitmapPageKind.AllDirty : BitmapPageKind.AllClean;
                break;
            }
        }

        if (next == 0 && _stored is not null)
        {
            kind = _stored.KindOf(page);
        }

        if (kind == BitmapPageKind.Bits)
        {
            await _stored!.ReadPageAsync(page, words, cancellationToken).ConfigureAwait(false);
            return next;
        }

        words.Span.Clear();
        if (kind == BitmapPageKind.AllDirty)
        {
            BitKernels.Fill(words.Span, 0, piece.BitCount, true);
        }

        return next;
    }

    private void Add(IContentChange change)
    {
        _changes.Add(change);
        IsFrozen = false;
    }
}
