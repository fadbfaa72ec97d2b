namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>
/// The bitmaps that an image must have, by the rules as one would explain them. Each step is added to an edit for the library too.
/// </summary>
internal sealed class EditModel(long sizeBytes, int clusterSizeBytes)
{
    private List<ModelBitmap> _bitmaps = [];
    private List<ModelBitmap> _before = [];
    private BitmapEdit _edit = new();

    public long SizeBytes => sizeBytes;

    public IReadOnlyList<ModelBitmap> Bitmaps => _bitmaps;

    /// <summary>Whether one of the steps since the last edit must be refused.</summary>
    public bool IsRefused { get; private set; }

    public ModelBitmap this[string name] => Find(name) ?? throw new ArgumentException(name, nameof(name));

    public bool Has(string name) => Find(name) is not null;

    /// <summary>Puts a bitmap that the image has already.</summary>
    public void Put(ModelBitmap bitmap)
    {
        _bitmaps.Add(bitmap);
        _before.Add(bitmap with { Bits = bitmap.Bits.Clone() });
    }

    /// <summary>Ends an edit: what was done since the last one. If it must be refused, the model is as before it.</summary>
    public BitmapEdit TakeEdit(out bool isRefused)
    {
        (BitmapEdit edit, isRefused) = (_edit, IsRefused);
        if (isRefused)
        {
            _bitmaps = _before;
        }

        (_edit, IsRefused) = (new BitmapEdit(), false);
        _before = [.. _bitmaps.Select(static bitmap => bitmap with { Bits = bitmap.Bits.Clone() })];
        return edit;
    }

    /// <summary>What the guest writes is dirty in all that record.</summary>
    public void Write(long offsetBytes, long lengthBytes)
    {
        foreach (ModelBitmap bitmap in _bitmaps.Where(static bitmap => bitmap.IsRecording && !bitmap.IsInconsistent))
        {
            bitmap.Bits.Set(offsetBytes, lengthBytes);
        }
    }

    public void Add(string name, long? granularityBytes = null, bool isRecording = true)
    {
        _edit.Add(name, granularityBytes, isRecording);
        long granularity = granularityBytes ?? Math.Clamp(clusterSizeBytes, 4096, 65536);
        Step(
            sizeBytes > 0 && Find(name) is null,
            () => _bitmaps.Add(new ModelBitmap(name, granularity, isRecording, false, new ModelBits(sizeBytes, granularity))));
    }

    public void Remove(string name)
    {
        _edit.Remove(name);
        Step(Find(name) is not null, () => _bitmaps.RemoveAll(bitmap => bitmap.Name == name));
    }

    public void RemoveAll()
    {
        _edit.RemoveAll();
        Step(true, _bitmaps.Clear);
    }

    public void Clear(string name)
    {
        _edit.Clear(name);
        Step(IsConsistent(name), () => this[name].Bits.Clear(0, sizeBytes));
    }

    public void Clear(string name, long offsetBytes, long lengthBytes)
    {
        _edit.Clear(name, offsetBytes, lengthBytes);
        Step(IsConsistent(name) && IsInside(offsetBytes, lengthBytes), () => this[name].Bits.Clear(offsetBytes, lengthBytes));
    }

    public void Set(string name, long offsetBytes, long lengthBytes)
    {
        _edit.Set(name, offsetBytes, lengthBytes);
        Step(IsConsistent(name) && IsInside(offsetBytes, lengthBytes), () => this[name].Bits.Set(offsetBytes, lengthBytes));
    }

    public void Enable(string name)
    {
        _edit.Enable(name);
        Step(IsConsistent(name), () => Replace(name, static bitmap => bitmap with { IsRecording = true }));
    }

    public void Disable(string name)
    {
        _edit.Disable(name);
        Step(IsConsistent(name), () => Replace(name, static bitmap => bitmap with { IsRecording = false }));
    }

    public void Rename(string name, string newName)
    {
        _edit.Rename(name, newName);
        Step(
            IsConsistent(name) && (name == newName || Find(newName) is null),
            () => Replace(name, bitmap => bitmap with { Name = newName }));
    }

    public void Merge(string source, string into)
    {
        _edit.Merge(source, into);
        Step(IsConsistent(source) && IsConsistent(into), () => this[into].Bits.Merge(this[source].Bits));
    }

    public void Merge(Qcow2Image image, string source, ModelBits bits, string into)
    {
        _edit.Merge(image, source, into);
        Step(IsConsistent(into), () => this[into].Bits.Merge(bits));
    }

    public void Merge(ModelBits bits, string into)
    {
        _edit.Merge(bits.InMemory, into);
        Step(IsConsistent(into), () => this[into].Bits.Merge(bits));
    }

    private void Step(bool isAllowed, Action apply)
    {
        IsRefused |= !isAllowed;
        if (!IsRefused)
        {
            apply();
        }
    }

    private ModelBitmap? Find(string name) => _bitmaps.Find(bitmap => bitmap.Name == name);

    private bool IsConsistent(string name) => Find(name) is { IsInconsistent: false };

    private bool IsInside(long offsetBytes, long lengthBytes) => offsetBytes + lengthBytes <= sizeBytes;

    private void Replace(string name, Func<ModelBitmap, ModelBitmap> change) => _bitmaps[_bitmaps.IndexOf(this[name])] = change(this[name]);
}
