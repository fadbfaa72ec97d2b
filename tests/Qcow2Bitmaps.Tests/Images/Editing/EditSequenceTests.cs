using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>
/// Sequences of steps, taken one by one by qemu-img, one by one here, and here in a single edit: all end in the same bitmaps.
/// </summary>
public sealed class EditSequenceTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public void EndInTheSameBitmapsAsWithQemuImg()
    {
        Qemu.Require();
        Properties.ForAll(
            SequenceCase.Generator, 40 * Properties.Factor, static sequence => RunBesideQemuAsync(sequence).GetAwaiter().GetResult());
    }

    [Fact]
    public void WithStepsOfOurOwnEndInTheBitmapsOfTheModel() =>
        Properties.ForAll(
            OwnSequence.Generator, 200 * Properties.Factor, static sequence => RunBesideModelAsync(sequence).GetAwaiter().GetResult());

    private static async Task RunBesideQemuAsync(SequenceCase sequence)
    {
        using var folder = new TempFolder();
        string[] paths = [folder.File("qemu.qcow2"), folder.File("steps.qcow2"), folder.File("edit.qcow2")];
        await Qemu.ImgOkAsync(
            "create", "-q", "-f", "qcow2", "-o", $"cluster_size={1 << sequence.ClusterBits},refcount_bits={sequence.RefcountBits}",
            paths[0], $"{sequence.SizeBytes}");
        File.Copy(paths[0], paths[1]);
        File.Copy(paths[0], paths[2]);
        QemuNode[] nodes = [.. paths.Select(static path => new QemuNode(path))];
        var edit = new BitmapEdit();
        foreach (SequenceStep step in sequence.Steps)
        {
            if (step.Action is not (SequenceAction.Write or SequenceAction.Crash))
            {
                if (await TakeBesideQemuAsync(step, nodes[0], paths[1]))
                {
                    step.AddTo(edit);
                }

                continue;
            }

            await EditAsync(paths[2], edit);
            edit = new BitmapEdit();
            (long offset, long length) = step.RangeOn(sequence.SizeBytes);
            foreach (QemuNode node in nodes)
            {
                await (step.Action == SequenceAction.Write ? node.WriteAsync(offset, length) : node.CrashAsync());
            }
        }

        await EditAsync(paths[2], edit);
        IReadOnlyList<StoredBitmap> expected = await nodes[0].ListAsync();
        await using Qcow2Image byQemu = await Qcow2Image.OpenAsync(paths[0], cancellationToken: Token);
        foreach (QemuNode node in nodes[1..])
        {
            ProcessResult check = await node.CheckAsync();
            Assert.True(check.ExitCode == 0, check.Output + check.Error);
            Assert.Equal(expected, await node.ListAsync());
            foreach (BitmapInfo bitmap in byQemu.Bitmaps.Where(static b => b.State != BitmapState.Inconsistent))
            {
                DirtyBitmap bits = await byQemu.Bitmaps.LoadAsync(bitmap, cancellationToken: Token);
                Assert.Equal([.. bits.Extents(includeClean: true)], await node.ReadExtentsAsync(bitmap.Name));
            }
        }
    }

    /// <summary>Takes a step with qemu-img on one image and here on another.</summary>
    /// <returns>Whether both took it; else both refused it with the same words.</returns>
    private static async Task<bool> TakeBesideQemuAsync(SequenceStep step, QemuNode node, string path)
    {
        ProcessResult theirs = await node.BitmapAsync(step.Options, step.Name);
        var edit = new BitmapEdit();
        step.AddTo(edit);
        string ours = "";
        try
        {
            await EditAsync(path, edit);
        }
        catch (BitmapStateException e)
        {
            ours = $"qemu-img: Operation {e.Operation} on bitmap {step.Name} failed: {e.Message}\n";
        }

        Assert.Equal(theirs.Error, ours);
        Assert.Equal(theirs.ExitCode, ours.Length > 0 ? 1 : 0);
        return ours.Length == 0;
    }

    private static async Task EditAsync(string path, BitmapEdit edit)
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(path, FileAccess.ReadWrite, cancellationToken: Token);
        await image.Bitmaps.EditAsync(edit, Token);
    }

    private static async Task RunBesideModelAsync(OwnSequence sequence)
    {
        var storage = new MemoryStorage(new TestImage(sequence.ClusterBits, sequence.SizeBytes, sequence.RefcountOrder).Build());
        var model = new EditModel(sequence.SizeBytes, 1 << sequence.ClusterBits);
        var others = new List<Qcow2Image>();
        foreach ((bool mayBeRefused, IReadOnlyList<OwnStep> edit) in sequence.Edits)
        {
            await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token);
            byte[] before = storage.ToArray();
            foreach (OwnStep step in edit.Where(step => mayBeRefused || step.IsPossible(model)))
            {
                await step.TakeAsync(model, others);
            }

            BitmapEdit steps = model.TakeEdit(out bool isRefused);
            if (isRefused)
            {
                await Assert.ThrowsAsync<BitmapStateException>(async () => await image.Bitmaps.EditAsync(steps, Token));
                Assert.Equal(before, storage.ToArray());
            }
            else
            {
                await image.Bitmaps.EditAsync(steps, Token);
            }

            await EditAssert.IsModelAsync(image, model);
        }

        foreach (Qcow2Image other in others)
        {
            await other.DisposeAsync();
        }

        await using Qcow2Image reopened = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token);
        await EditAssert.IsModelAsync(reopened, model);
        await EditAssert.IsSoundAsync(reopened);
        if (sequence.IsReadByQemu && Qemu.IsHere)
        {
            using var folder = new TempFolder();
            var node = new QemuNode(folder.Write("a.qcow2", storage.ToArray()));
            await EditAssert.QemuAgreesAsync(node, model);
            foreach (ModelBitmap bitmap in model.Bitmaps)
            {
                Assert.Equal(bitmap.Bits.Extents(), await node.ReadExtentsAsync(bitmap.Name));
            }
        }
    }
}
